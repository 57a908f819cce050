"""One transfer: seeds serve, leechers fetch, and both are measured."""
import os, shutil, time
from clients import CLIENTS
from measure import MIB, Failed, Heater, Window, until
from world import SentBy, fresh, same

PIECE = MIB          # as people's torrents of this size have
MEMORY_SECONDS = 8   # how long a download goes on where only its memory is of interest


def transfer(world, o, torrent, source, seeds, leechers, mib, on="ram", limit=None, compare=True, until_done=True, roads=None):
    """`seeds` serve, `leechers` fetch; both are client names. `roads`: how each reaches others. Measured from the start of the
    leechers to the end of the last one."""
    world.tracker.reset()
    os.sync()
    into = [f"{getattr(world, on)}/into{i}" for i in range(len(leechers))]
    roads = roads or {}
    givers = [CLIENTS[name](world, 1 + i, torrent, source=source, road=roads.get(name)) for i, name in enumerate(seeds)]
    takers = [CLIENTS[name](world, 10 + i, torrent, into=fresh(into[i]), stay=len(leechers) > 1,
                            road=roads.get(name))
              for i, name in enumerate(leechers)]
    try:
        for peer in givers:
            peer.prepare()
            peer.begin()
            if peer.is_told:
                world.tracker.seeds.append((peer.ip, peer.port))
        for peer in givers:
            until(peer.ready, 120, "seed ready", 0.05)
        for peer in takers:
            peer.prepare()
            world.tracker.others.append((peer.ip, peer.port))
        sent = SentBy(givers[0].port)
        heater = Heater(int(mib * len(takers) * 1.25) * MIB)
        window = Window(seed=[p.proc for p in givers], leecher=[p.proc for p in takers if p.proc])
        with heater:
            window.start()
            for peer in takers:
                peer.begin()
                if peer.proc not in window.sides["leecher"]:
                    window.add("leecher", peer.proc)
            waiting = list(takers)

            def finished():
                window.notice()
                waiting[:] = [p for p in waiting if not p.done()]
                return not waiting

            if until_done:
                until(finished, limit or o.limit, "download complete")
            else:
                end = time.monotonic() + MEMORY_SECONDS
                until(lambda: finished() or time.monotonic() > end, MEMORY_SECONDS + 1, "end", 0.05)
                if window.first is None:
                    raise Failed("no data flowed: " + takers[0].proc.words())
            figures = window.stop()
        figures["sent"] = sent.bytes()[0] / (mib * MIB)
        name = os.path.basename(source)
        if compare and not all(same(source, found(folder, name)) for folder in into):
            raise Failed("what arrived is not what was sent")
        return figures
    finally:
        for peer in takers + givers:
            peer.stop()
        for folder in into:
            shutil.rmtree(folder, ignore_errors=True)


def found(folder, name):
    """rtorrent and aria2 put a torrent's folder where the others put it; all use its name"""
    return os.path.join(folder, name)
