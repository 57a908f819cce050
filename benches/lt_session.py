#!/usr/bin/env python3
"""libtorrent without a client around it, for cases about daemons.

    lt_session.py keep FOLDER STATE --save DIR         resume data of all torrents in FOLDER, as of a seed
    lt_session.py run STATE --bind IP:PORT             a session with all of that, until SIGTERM
    lt_session.py seek TORRENT... --save DIR --bind IP:PORT --from BYTE --bytes N --head SECONDS
                                                       fetches, then wants N bytes of the first torrent at once

It prints JSON objects as lt.py does.
"""
import argparse, json, os, signal, time
import libtorrent as lt


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def session(bind):
    return lt.session({
        "listen_interfaces": bind, "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "enable_outgoing_utp": False, "enable_incoming_utp": False, "alert_queue_size": 100_000,
        "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification})


def load(torrent, save):
    p = lt.load_torrent_file(torrent)
    p.save_path = save
    p.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    return p


def keep(o):
    os.makedirs(o.state, exist_ok=True)
    for name in sorted(os.listdir(o.folder)):
        p = load(os.path.join(o.folder, name), o.save)
        p.flags |= lt.torrent_flags.seed_mode
        with open(os.path.join(o.state, name + ".resume"), "wb") as f:
            f.write(lt.write_resume_data_buf(p))


def run(o):
    s, names = session(o.bind), sorted(os.listdir(o.state))
    for name in names:
        with open(os.path.join(o.state, name), "rb") as f:
            s.async_add_torrent(lt.read_resume_data(f.read()))
    added = 0
    while added < len(names):
        s.wait_for_alert(1000)
        for alert in s.pop_alerts():
            if isinstance(alert, lt.add_torrent_alert):
                if alert.error.value():
                    raise SystemExit(alert.message())
                added += 1
    say("ready", torrents=len(s.get_torrents()))
    while True:
        signal.pause()


def seek(o):
    s = session(o.bind)
    handles = [s.add_torrent(load(torrent, o.save)) for torrent in o.torrent]
    film, size = handles[0], handles[0].torrent_file().piece_length()
    until = time.monotonic() + 60
    while not all(h.status().total_payload_download for h in handles):
        if time.monotonic() > until:
            raise SystemExit("not all torrents move")
        time.sleep(0.1)
    say("moving")
    time.sleep(o.head)
    pieces = range(o.start // size, (o.start + o.bytes - 1) // size + 1)
    if any(map(film.have_piece, pieces)):
        raise SystemExit("what is to be fetched is there already")
    began = time.monotonic()
    for i, piece in enumerate(pieces):
        film.set_piece_deadline(piece, 500 * i)
    first = None
    while not all(map(film.have_piece, pieces)):
        if first is None and film.have_piece(pieces[0]):
            first = time.monotonic() - began
        time.sleep(0.002)
    wall = time.monotonic() - began
    say("done", wall=wall, first=first if first is not None else wall)
    os._exit(0)


def main():
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = top.add_subparsers(required=True)
    a = verbs.add_parser("keep")
    a.set_defaults(run=keep)
    a.add_argument("folder")
    a.add_argument("state")
    a.add_argument("--save", required=True)
    a = verbs.add_parser("run")
    a.set_defaults(run=run)
    a.add_argument("state")
    a.add_argument("--bind", required=True)
    a = verbs.add_parser("seek")
    a.set_defaults(run=seek)
    a.add_argument("torrent", nargs="+")
    a.add_argument("--save", required=True)
    a.add_argument("--bind", required=True)
    a.add_argument("--from", dest="start", type=int, required=True)
    a.add_argument("--bytes", type=int, required=True)
    a.add_argument("--head", type=float, required=True, help="seconds of fetching before the seek")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    o = top.parse_args()
    o.run(o)


main()
