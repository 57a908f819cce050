"""What is measured. A case is a list of runs; a run does its work once and returns figures.

Every case yields all its contestants; bench.py takes turns among them, so that whatever
the machine does meanwhile falls on all alike.
"""
import os, shutil
from clients import CLIENTS
from crowd_cases import CROWD_CASES
from daemon_cases import DAEMON_CASES
from measure import Failed, Window, until
from reach_cases import REACH_CASES
from run import Run
from transfers import MEMORY_SECONDS, PIECE, found, transfer
from world import LT, TOOLS, TRACKER_URL, VENV_PYTHON, fresh, same

# ------------------------------------------------------------------- cases
S, L, F, L2, A, R, T = "starling", "libtorrent", "libtorrent-fast", "libtorrent-2.0", "aria2", "rtorrent", "transmission"


def pair(world, o, on="ram"):
    """one seed, one downloader, one file; (leecher, seed)"""
    both = [(S, S), (L, L), (S, L), (L, S)]
    wanted = {"v1": both + [(F, F), (L2, L2), (A, A), (R, R), (S, A), (A, S)], "v2": both + [(L2, L2)], "hybrid": both + [(L2, L2)]}
    if on == "disk":
        wanted = {"v1": both + [(A, A)], "hybrid": both}
    for kind, contestants in wanted.items():
        for leecher, seed in contestants:
            yield one_to_one(world, o, f"1 to 1, {o.mib} MiB, {kind}, {'tmpfs' if on == 'ram' else 'disk'}", kind, leecher, seed, o.mib, on)
    if on == "ram":
        # Half of it is timers: one run says all there is to say.
        for leecher, seed in [(T, T), (S, T), (T, S)]:
            yield one_to_one(world, o, f"1 to 1, {o.mib} MiB, v1, tmpfs", "v1", leecher, seed, o.mib, on, times=1)


def one_to_one(world, o, case, kind, leecher, seed, mib, on, times=0):
    def work():
        source = world.payload(mib, on)
        return transfer(world, o, world.torrent(source, kind, PIECE), source, [seed], [leecher], mib, on)
    return Run(case, f"{leecher} <- {seed}", [leecher, seed], mib, work, times)


def disk(world, o):
    """the same on a real disk"""
    return pair(world, o, "disk")


def spread(world, o):
    """one seed, four downloaders"""
    yield from many_peers(world, o, "1 to 4", [(S, S), (L, L), (A, A), (R, R), (S, L), (L, S)], 1, 4)


def gather(world, o):
    """four seeds, one downloader"""
    yield from many_peers(world, o, "4 to 1", [(S, S), (L, L), (A, A), (R, R), (S, L), (L, S)], 4, 1)


def many_peers(world, o, title, contestants, seeds, leechers):
    mib = max(o.mib // 4, 16)
    for leecher, seed in contestants:
        def work(leecher=leecher, seed=seed):
            source = world.payload(mib)
            return transfer(world, o, world.torrent(source, "v1", PIECE), source, [seed] * seeds, [leecher] * leechers, mib)
        yield Run(f"{title}, {mib} MiB, v1, tmpfs", f"{leecher} <- {seed}", [leecher, seed], mib * leechers, work)


def files(world, o):
    """one seed, one downloader, many small files"""
    count = 2000 if o.quick else 10_000
    mib = count / 64
    for kind, contestants in {"v1": [(S, S), (L, L), (S, L), (L, S), (A, A), (R, R)], "v2": [(S, S), (L, L)]}.items():
        for leecher, seed in contestants:
            def work(kind=kind, leecher=leecher, seed=seed):
                source = world.folder(count, 16384)
                return transfer(world, o, world.torrent(source, kind, 256 * 1024), source, [seed], [leecher], mib)
            yield Run(f"{count} files of 16 KiB, {kind}, tmpfs", f"{leecher} <- {seed}", [leecher, seed], mib, work)


def create(world, o):
    """make a torrent of one file; beside what reading and hashing alone take"""
    mib = 4 * o.mib
    source, out = f"{world.ram}/{mib}/payload.bin", f"{world.ram}/created.torrent"
    starling = CLIENTS[S].binary

    def lt(python, kind):
        return [python, LT, "create", source, out, "--kind", kind, "--piece-size", str(PIECE)]
    openssl = "openssl dgst -sha1 $0 & openssl dgst -sha256 $0 & wait"
    contestants = [
        ("hybrid", S, [S], [starling, "create", source, "-o", out, "--hybrid", "--piece-size", "1MiB"]),
        ("hybrid", "libtorrent", [L], lt(VENV_PYTHON, "hybrid")),
        ("hybrid", "limit: openssl sha1 and sha256 at once", [], ["sh", "-c", openssl, source]),
        ("v1", S, [S], [starling, "create", source, "-o", out, "--v1", "--piece-size", "1MiB"]),
        ("v1", "libtorrent", [L], lt(VENV_PYTHON, "v1")),
        ("v1", "libtorrent-2.0", [L2], lt("/usr/bin/python3", "v1")),
        ("v1", "mktorrent, 2 threads", [], ["mktorrent", "-t", "2", "-l", "20", "-o", out, source]),
        ("v1", "transmission-create", [], [f"{TOOLS}/transmission-create", "-s", "1024", "-o", out, source]),
        ("v2", S, [S], [starling, "create", source, "-o", out, "--v2", "--piece-size", "1MiB"]),
        ("v2", "libtorrent", [L], lt(VENV_PYTHON, "v2")),
    ]
    for kind, name, needs, argv in contestants:
        def work(argv=argv):
            world.payload(mib)
            return making(world, o, argv, out)
        yield Run(f"create, {mib} MiB, {kind}, tmpfs", name, needs, mib, work)


def making(world, o, argv, out):
    """what a program takes that writes the torrent file `out` and ends"""
    if os.path.exists(out):
        os.unlink(out)
    home = fresh(f"{world.ram}/home")
    window = Window()
    window.start()
    proc = world.spawn(argv, {"HOME": home, "STARLING_HOME": home})
    window.add("leecher", proc)
    until(lambda: not proc.running(), o.limit, "torrent made")
    figures = window.stop(proc.ended)
    proc.healthy()
    return figures


def memory(world, o):
    """peak memory with what is large: a huge file, and very many"""
    for leecher, seed in [(S, S), (L, L)]:
        def hole(leecher=leecher, seed=seed):
            source, torrent = world.sparse(100)
            figures = transfer(world, o, torrent, source, [seed], [leecher], 1024, compare=False, until_done=False)
            return {**figures, "wall": None, "sent": None}
        yield Run(f"100 GiB in one sparse file, hybrid, {MEMORY_SECONDS} s of it", f"{leecher} <- {seed}", [leecher, seed], 0, hole, 1)
    count = 20_000 if o.quick else 100_000
    for kind in ("v1", "v2"):
        for leecher, seed in [(S, S), (L, L)]:
            def work(kind=kind, leecher=leecher, seed=seed):
                source = world.folder(count, 1024)
                return transfer(world, o, world.torrent(source, kind, 16384), source, [seed], [leecher], count / 1024, limit=2 * o.limit)
            yield Run(f"{count} files of 1 KiB, {kind}, tmpfs", f"{leecher} <- {seed}", [leecher, seed], count / 1024, work, 1)
    for kind in ("v1", "v2", "hybrid"):
        def create(kind=kind):
            source, out = world.folder(count, 1024), f"{world.ram}/created.torrent"
            return making(world, o, [CLIENTS[S].binary, "create", source, "-o", out, f"--{kind}"], out)
        yield Run(f"create, {count} files of 1 KiB, {kind}, tmpfs", S, [S], count / 1024, create, 1)
    for kind in ("v1", "v2", "hybrid"):
        def seed(kind=kind):
            return share(world, o, world.folder(count, 1024), kind)
        yield Run(f"seed, {count} files of 1 KiB, {kind}, tmpfs", f"{S} <- {S}", [S], count / 1024, seed, 1)


def share(world, o, source, kind):
    """`starling seed FOLDER` hashes and serves a folder; somebody fetches all of it by the torrent it made.
    Measured from the start of the seed."""
    torrent, into, home = f"{world.ram}/shared.torrent", fresh(f"{world.ram}/into"), fresh(f"{world.ram}/home1")
    if os.path.exists(torrent):
        os.unlink(torrent)
    world.tracker.reset()
    taker = CLIENTS[S](world, 10, torrent, into=into)
    window = Window()
    window.start()
    giver = world.spawn([CLIENTS[S].binary, "seed", source, f"--{kind}", "--torrent-out", torrent, "--tracker", TRACKER_URL,
                         "--bind", "10.77.0.1:7001", "--no-dht", "--no-local-discovery", "--no-utp", "--json", "--yes"],
                        {"HOME": home, "STARLING_HOME": home})
    window.add("seed", giver)
    try:
        until(lambda: giver.healthy() and giver.said("seeding"), o.limit, "folder shared")
        world.tracker.seeds.append(("10.77.0.1", 7001))
        world.tracker.others.append((taker.ip, taker.port))
        taker.begin()
        window.add("leecher", taker.proc)

        def finished():
            window.notice()
            return taker.done()
        until(finished, 2 * o.limit, "download complete")
        figures = window.stop()
        if not same(source, found(into, os.path.basename(source))):
            raise Failed("what arrived is not what was shared")
        return figures
    finally:
        taker.stop()
        giver.stop()
        shutil.rmtree(into, ignore_errors=True)


CASES = {"pair": pair, "disk": disk, "spread": spread, "gather": gather, "files": files, "create": create, "memory": memory,
         **DAEMON_CASES, **REACH_CASES, **CROWD_CASES}
GROUPS = {"swarm": ["pair", "disk", "spread", "gather", "files"], "create": ["create"], "memory": ["memory"], "daemon": [*DAEMON_CASES],
          "reach": [*REACH_CASES, *CROWD_CASES]}
