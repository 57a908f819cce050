#!/usr/bin/env python3
"""libtorrent as a command, for tests and benchmarks: makes torrents, and is one peer.

    lt.py create PATH OUT --kind v1|v2|hybrid [--piece-size BYTES] [--tracker URL]... [--web-seed URL]...
    lt.py create FOLDER OUT_FOLDER --each ...       one torrent for each thing in the folder
    lt.py peer SOURCE... --save DIR --bind IP:PORT [--seed] [--stay] ...

SOURCE is a .torrent file or a magnet link. Everything it has to say is one JSON object a
line on standard output, each with an "event". SIGTERM ends it, with a last line of totals.
"""
import argparse, hashlib, json, os, signal, sys, time, warnings

warnings.simplefilter("ignore", DeprecationWarning)   # one script for 2.0 and 2.1
import libtorrent as lt


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def hashes(info):
    """the hex info-hashes that there are"""
    return {key: str(value) for key, value in (("info_hash_v1", info.v1), ("info_hash_v2", info.v2))
            if not value.is_all_zeros()}


def create(o):
    if not o.each:
        return create_one(o, o.path, o.out)
    for name in sorted(os.listdir(o.path)):
        create_one(o, os.path.join(o.path, name), os.path.join(o.out, name + ".torrent"))


def create_one(o, path, out):
    files = lt.file_storage()
    lt.add_files(files, path)
    if o.kind == "v1":
        files = in_order(files)
    flags = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only, "hybrid": 0}[o.kind]
    torrent = lt.create_torrent(files, o.piece_size, flags=flags)
    for url in o.tracker:
        torrent.add_tracker(url)
    for url in o.web_seed:
        torrent.add_url_seed(url)
    start = time.monotonic()
    lt.set_piece_hashes(torrent, os.path.dirname(os.path.abspath(path)))
    seconds = time.monotonic() - start
    with open(out, "wb") as f:
        f.write(lt.bencode(torrent.generate()))
    info = lt.torrent_info(out)
    say("created", name=info.name(), magnet=lt.make_magnet_uri(info), piece_length=info.piece_length(),
        seconds=seconds, **hashes(info.info_hashes()))


def in_order(files):
    """A v1 torrent keeps the order in which the file system happened to list its files; for v2
    and hybrid ones libtorrent sorts them itself."""
    ordered = lt.file_storage()
    ordered.set_name(files.name())
    for i in sorted(range(files.num_files()), key=lambda i: files.file_path(i).encode().split(b"/")):
        ordered.add_file(files.file_path(i), files.file_size(i), files.file_flags(i))
    return ordered


def settings(o):
    s = {"default": lt.default_settings, "hps": lt.high_performance_seed}[o.preset]()
    s.update({
        "listen_interfaces": o.bind, "enable_upnp": False, "enable_natpmp": False,
        "enable_dht": o.dht, "enable_lsd": o.lsd, "dht_bootstrap_nodes": ",".join(o.node),
        # A few nodes on neighbouring addresses are all the network there is.
        "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False, "dht_prefer_verified_node_ids": False,
        "allow_multiple_connections_per_ip": True,
        "enable_outgoing_utp": o.utp, "enable_incoming_utp": o.utp,
        "enable_outgoing_tcp": not o.utp, "enable_incoming_tcp": not o.utp,
        # To see the end of it: a seed would part from those who are complete.
        "close_redundant_connections": not o.leave_when_copied,
        "upload_rate_limit": o.limit_up, "download_rate_limit": o.limit_down,
        "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification
        | lt.alert.category_t.storage_notification,
    })
    for pair in o.set:
        key, value = pair.split("=", 1)
        s[key] = type(s[key])(value == "true" if isinstance(s[key], bool) else value)
    return s


def params(o, source):
    if source.startswith("magnet:"):
        p = lt.parse_magnet_uri(source)
    elif hasattr(lt, "load_torrent_file"):
        p = lt.load_torrent_file(source)
    else:
        p = lt.add_torrent_params()
        p.ti = lt.torrent_info(source)
    p.save_path = o.save
    p.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    if o.seed:
        p.flags |= lt.torrent_flags.seed_mode
    if o.super_seed:
        p.flags |= lt.torrent_flags.super_seeding
    return p


class Peer:
    def __init__(self, o):
        self.o = o
        self.session = lt.session(settings(o))
        everyone = lt.ip_filter()                  # otherwise neighbours are exempt from limits
        everyone.add_rule("0.0.0.0", "255.255.255.255", 1 << lt.session.global_peer_class_id)
        self.session.set_peer_class_filter(everyone)
        self.handles = [self.session.add_torrent(params(o, source)) for source in o.source]
        self.left = len(self.handles)              # torrents not complete
        self.flushing = set()
        self.others = []                           # pieces that any other peer has had
        self.stop = False
        for address in o.peer:
            host, port = address.rsplit(":", 1)
            for handle in self.handles:
                handle.connect_peer((host.strip("[]"), int(port)))

    def run(self):
        signal.signal(signal.SIGTERM, self.on_signal)
        say("listening", port=int(self.o.bind.rsplit(":", 1)[1]))
        if self.o.seed:
            while not all(h.status().state == lt.torrent_status.seeding for h in self.handles):
                time.sleep(0.01)
            say("seeding")
        tick = asked = time.monotonic()
        while not self.stop:
            self.session.wait_for_alert(100)
            for alert in self.session.pop_alerts():
                self.on_alert(alert)
            if self.o.dht and time.monotonic() - asked > 2:    # its own interval is a quarter of an hour
                asked = time.monotonic()
                for handle in self.handles:
                    handle.force_dht_announce()
            if self.o.progress and time.monotonic() - tick > self.o.progress:
                tick = time.monotonic()
                say("progress", **self.totals())
            if self.o.leave_when_copied and self.copied():
                say("copied")
                self.stop = True
        say("end", **self.totals())
        sys.stdout.flush()
        os._exit(0)                                # no good-byes to trackers nobody waits for

    def copied(self):
        """whether other peers have every piece of the one torrent between them"""
        for peer in self.handles[0].get_peer_info():
            if peer.pieces:
                self.others = [a or b for a, b in zip(self.others, peer.pieces)] if self.others else list(peer.pieces)
        return bool(self.others) and all(self.others)

    def on_signal(self, *_):
        self.stop = True

    def on_alert(self, alert):
        if os.environ.get("LT_DEBUG"):
            print(type(alert).__name__, alert.message(), file=sys.stderr, flush=True)
        if isinstance(alert, lt.metadata_received_alert):
            say("metadata", name=alert.handle.status().name)
        elif isinstance(alert, lt.torrent_finished_alert) and not self.o.seed:
            self.flushing.add(alert.handle)        # finished comes before the last writes
            alert.handle.flush_cache()
        elif isinstance(alert, lt.cache_flushed_alert) and alert.handle in self.flushing:
            self.flushing.remove(alert.handle)
            self.left -= 1
            say("done", name=alert.handle.status().name, left=self.left, **self.totals())
            self.stop = self.left == 0 and not self.o.stay
        elif isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert, lt.listen_failed_alert)):
            say("error", message=alert.message())

    def totals(self):
        status = [h.status() for h in self.handles]
        return {"done": sum(s.total_wanted_done for s in status), "total": sum(s.total_wanted for s in status),
                "down": sum(s.total_payload_download for s in status), "up": sum(s.total_payload_upload for s in status),
                "failed": sum(s.total_failed_bytes for s in status), "peers": sum(s.num_peers for s in status)}


def values(o):
    """puts and gets values in the DHT (BEP 44), each until it has worked"""
    session = lt.session(settings(o))
    session.apply_settings({"alert_mask": lt.alert.category_t.dht_notification})
    pub = bytes.fromhex(o.key)
    seed = bytearray(hashlib.sha512(bytes.fromhex(o.seed)).digest())
    seed[0] &= 248
    seed[31] = seed[31] & 63 | 64                  # libtorrent wants the key as RFC 8032 expands it
    salt, wanted, asked = o.salt.encode(), set(), 0
    if o.get:
        wanted |= {"immutable", "mutable"}
    if o.put:
        wanted |= {"put", "put-signed"}
    say("listening", port=int(o.bind.rsplit(":", 1)[1]))
    while wanted:
        if time.monotonic() - asked > 2:
            asked = time.monotonic()
            if "immutable" in wanted:
                session.dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(o.get)))
            if "mutable" in wanted:
                session.dht_get_mutable_item(pub, salt)
            if "put" in wanted:
                session.dht_put_immutable_item(o.put.encode())
            if "put-signed" in wanted:
                session.dht_put_mutable_item(bytes(seed), pub, o.put.encode(), salt)
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            if os.environ.get("LT_DEBUG"):
                print(type(alert).__name__, alert.message(), file=sys.stderr, flush=True)
            if isinstance(alert, lt.dht_put_alert) and alert.num_success > 0:
                kind = "put-signed" if any(alert.public_key) else "put"
            elif isinstance(alert, lt.dht_immutable_item_alert) and alert.item:
                kind = "immutable"
            elif isinstance(alert, lt.dht_mutable_item_alert) and alert.item:
                kind = "mutable"
            else:
                continue
            if kind in wanted:
                wanted.remove(kind)
                found = getattr(alert, "item", None)
                say(kind, value=found.decode() if isinstance(found, bytes) else found)
    say("end")
    time.sleep(1)
    os._exit(0)


def main():
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = top.add_subparsers(required=True)
    a = verbs.add_parser("create")
    a.set_defaults(run=create)
    a.add_argument("path")
    a.add_argument("out")
    a.add_argument("--kind", choices=["v1", "v2", "hybrid"], required=True)
    a.add_argument("--piece-size", type=int, default=0, help="bytes; 0: libtorrent's choice")
    a.add_argument("--tracker", action="append", default=[])
    a.add_argument("--web-seed", action="append", default=[])
    a.add_argument("--each", action="store_true")
    a = verbs.add_parser("peer")
    a.set_defaults(run=lambda o: Peer(o).run())
    a.add_argument("source", nargs="+")
    a.add_argument("--save", required=True, help="folder that holds or gets the content")
    a.add_argument("--bind", required=True, help="IP:PORT")
    a.add_argument("--seed", action="store_true", help="the content is there; do not check it")
    a.add_argument("--stay", action="store_true", help="go on serving when all is complete")
    a.add_argument("--super-seed", action="store_true")
    a.add_argument("--leave-when-copied", action="store_true", help="end as soon as the others have every piece between them")
    a.add_argument("--peer", action="append", default=[], help="IP:PORT to connect to")
    a.add_argument("--dht", action="store_true")
    a.add_argument("--node", action="append", default=[], help="IP:PORT of a DHT node to start from")
    a.add_argument("--lsd", action="store_true", help="local service discovery")
    a.add_argument("--utp", action="store_true", help="uTP only; otherwise TCP only")
    a.add_argument("--limit-up", type=int, default=0, help="bytes a second")
    a.add_argument("--limit-down", type=int, default=0, help="bytes a second")
    a.add_argument("--preset", default="default", choices=["default", "hps"])
    a.add_argument("--set", action="append", default=[], help="NAME=VALUE, any libtorrent setting")
    a.add_argument("--progress", type=float, default=0, help="seconds between progress lines; 0: none")
    a = verbs.add_parser("values")
    a.set_defaults(run=values, dht=True, lsd=False, utp=False, preset="default", leave_when_copied=False, limit_up=0,
                   limit_down=0)
    a.add_argument("--bind", required=True, help="IP:PORT")
    a.add_argument("--node", action="append", default=[], help="IP:PORT of a DHT node to start from")
    a.add_argument("--set", action="append", default=[], help="NAME=VALUE, any libtorrent setting")
    a.add_argument("--seed", required=True, help="secret key, 64 hex digits")
    a.add_argument("--key", required=True, help="public key, 64 hex digits")
    a.add_argument("--salt", default="")
    a.add_argument("--put", help="a text to put, plain and signed")
    a.add_argument("--get", help="target of an immutable value; the signed one is looked for too")
    o = top.parse_args()
    o.run(o)


main()
