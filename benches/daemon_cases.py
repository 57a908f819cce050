"""Cases about daemons: how soon they answer, what they need while nothing happens, how many
lists they give out, what it costs to follow them, and how soon a player gets what it asks for.

A daemon's home is filled once for each number of torrents and started from that ever after.
"""
import os, shutil, time
from asking import read_range
from daemons import DAEMONS, PAGE_ROWS, LibtorrentSession, StarlingDaemon
from measure import MIB, Failed, until
from run import Run
from table import OTHERS, Layout, median, spread
from usage import Usage, memory
from world import LT, VENV_PYTHON, Link, fresh

S, T, D, L = "starling", "transmission", "deluge", "libtorrent"
START_SECONDS = 300      # deluged needs long for 10,000
POLL = 0.002             # seconds between two looks at whether it answers
SETTLE, REST = 15, 60    # seconds
MOVING, MOVING_MIB = 20, 32   # transfers that move while others rest, and the size of each
ACTIVE = 65              # seconds after which transmission calls a transfer that rests no longer active
KIB = 1024


def homes(world, n):
    """name -> home of that daemon with n seeds, filled when it is first asked for"""
    def home(name):
        path = f"{world.ram}/daemons/{name}-{n}"
        if not os.path.exists(f"{path}.filled"):
            torrents, folder = world.tiny(n)
            daemon = DAEMONS[name](world, fresh(path))
            daemon.start()
            try:
                until(lambda: daemon.answers(0), START_SECONDS, "API", 0.05)
                if n:
                    daemon.fill(torrents, folder)
            finally:
                daemon.stop()
            with open(f"{path}.filled", "w"):
                pass
        return path
    return home


class Running:
    """A daemon that answers, until the end of the block."""

    def __init__(self, daemon, n):
        self.daemon, self.n = daemon, n

    def __enter__(self):
        began = time.monotonic()
        self.daemon.start()
        try:
            until(lambda: self.daemon.answers(self.n), START_SECONDS, "API", POLL)
        except BaseException:
            self.daemon.stop()
            raise
        self.start_seconds = time.monotonic() - began
        return self.daemon

    def __exit__(self, *_):
        self.daemon.stop()


def contestants(o):
    for n in (0, 100, 1000) if o.quick else (0, 1000, 10_000):
        for name in (S, T, L, D):
            yield n, name


# ---------------------------------------------------------------------- start
START = Layout("daemon", [
    ("answers s", median("wall", "{:.3f}")), ("min..max", spread("wall", "{:.3f}")), ("CPU s", median("cpu", "{:.3f}")), OTHERS],
    "daemon-start: from the start of the program, with the home of an earlier run, to the first answer of its API that tells of all "
    "torrents (of libtorrent, which has no API and runs under Python here: until all are in its session).")


def start(world, o):
    for n, name in contestants(o):
        def work(n=n, name=name):
            daemon = DAEMONS[name](world, homes(world, n)(name))
            before = Usage.now(os.getpid())
            running = Running(daemon, n)
            with running:
                after = Usage.now(daemon.proc.pid)
                ours = Usage.now(os.getpid()).since(before)
            return {"wall": running.start_seconds, "cpu": after.cpu, "others": ours["others"] - after.cpu}
        yield Run(f"start, {n} seeds", name, [name], 0, work, layout=START)


# ----------------------------------------------------------------------- idle
IDLE = Layout("daemon", [
    ("RSS MiB", median("rss", "{:.1f}", MIB)), ("anon MiB", median("anon", "{:.1f}", MIB)),
    ("RSS KiB a torrent", median("rss_each", "{:.2f}", KIB)), ("anon KiB a torrent", median("anon_each", "{:.2f}", KIB)),
    ("CPU s", median("cpu", "{:.3f}")), ("wake-ups", median("wakeups", "{:.0f}")), ("threads", median("threads", "{:.0f}")), OTHERS],
    f"daemon-idle: {REST} seconds in which nobody asks for anything, {SETTLE} seconds after the start; wake-ups: context switches of all "
    "threads; a torrent: what it has more than the same daemon without torrents.")


def idle(world, o):
    empty = {}
    for n, name in contestants(o):
        def work(n=n, name=name):
            with Running(DAEMONS[name](world, homes(world, n)(name)), n) as daemon:
                time.sleep(2 if o.quick else SETTLE)
                before = Usage.now(daemon.proc.pid)
                time.sleep(5 if o.quick else REST)
                figures = Usage.now(daemon.proc.pid).since(before)
                figures["rss"], figures["anon"] = memory(daemon.proc.pid)
                daemon.proc.healthy()
            if n == 0:
                empty[name] = figures
            elif name in empty:
                for kind in ("rss", "anon"):
                    figures[f"{kind}_each"] = (figures[kind] - empty[name][kind]) / n
            return figures
        yield Run(f"idle, {n} seeds", name, [name], 0, work, times=1, layout=IDLE)


# ------------------------------------------------------------------------ API
API = Layout("daemon", [
    ("requests/s", median("rate", "{:.0f}")), ("min..max", spread("rate", "{:.0f}")), ("p50 ms", median("p50", "{:.2f}", 1e-3)),
    ("p99 ms", median("p99", "{:.2f}", 1e-3)), ("KB an answer", median("size", "{:.1f}", 1e3)), ("CPU ms an answer", median("each", "{:.3f}", 1e-3)),
    ("% of a core", median("share", "{:.0f}")), OTHERS],
    f"daemon-api: {PAGE_ROWS} rows of 1,000 transfers with about the same fields, over kept connections on loopback, each asking again as "
    "soon as it is answered; by wrk with one thread, deluged (its own protocol, compressed) by one Python process for each connection. "
    "Load and daemon share the cores; others has the load in it.")


def api(world, o):
    seconds = 2 if o.quick else 8
    for connections in (1, 4, 16):
        for name in (S, T, D):
            for page in DAEMONS[name].pages:
                def work(name=name, page=page, connections=connections):
                    with Running(DAEMONS[name](world, homes(world, 1000)(name)), 1000) as daemon:
                        daemon.load(connections, 1, page)
                        before = Usage.now(daemon.proc.pid)
                        done = daemon.load(connections, seconds, page)
                        used = Usage.now(daemon.proc.pid).since(before)
                    n = done["requests"]
                    return {"rate": n / done["seconds"], "p50": done["p50"], "p99": done["p99"], "size": done["bytes"] / n,
                            "each": used["cpu"] / n, "share": 100 * used["cpu"] / used["wall"], "others": used["others"]}
                yield Run(f"API, {connections} connection{'s' * (connections > 1)}", name + page, [name, "wrk"], 0, work, layout=API)


# --------------------------------------------------------------------- follow
FOLLOW = Layout("daemon", [
    ("caught up s", median("first", "{:.3f}")), ("MB", median("first_bytes", "{:.2f}", 1e6)), ("CPU s", median("first_cpu", "{:.3f}")),
    ("then % of a core", median("share", "{:.2f}")), ("KB/s", median("rate", "{:.1f}", 1e3)), ("events/s", median("events", "{:.1f}")),
    ("without a client %", median("alone", "{:.2f}")), OTHERS],
    f"daemon-follow: {MOVING} of the transfers receive 2 MB/s together. Caught up: all rows; then: CPU of the daemon with a client less that "
    "without, two spans of each by turns. Starling by its event stream; the others have none, so they are asked once a second: transmission "
    "for what was active of late, deluged for what differs.")


def follow(world, o):
    n, span = (1000, 5) if o.quick else (10_000, 15)
    for name in (S, T, D):
        def work(name=name):
            home = f"{world.ram}/daemons/following"
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(homes(world, n)(name), home, symlinks=True, ignore=lambda _, names: [x for x in names if x.endswith(".sock")])
            into = fresh(f"{world.ram}/into")
            torrents, folder = world.several(MOVING, MOVING_MIB)
            world.tracker.reset()
            seed = world.spawn([VENV_PYTHON, LT, "peer", *torrents, "--save", folder, "--bind", "10.77.0.1:7001", "--seed",
                                "--limit-up", "2000000", "--set", "unchoke_slots_limit=100"])
            try:
                until(lambda: seed.healthy() and seed.said("seeding"), 30, "seed ready")
                world.tracker.seeds.append(("10.77.0.1", 7001))
                with Running(DAEMONS[name](world, home), n) as daemon:
                    daemon.fetch(torrents, into)
                    until(lambda: len(arrived(into)) == MOVING and all(arrived(into)), 60, "all moving", 0.1)
                    time.sleep(2 if o.quick else ACTIVE)
                    figures = following(daemon, span)
                    if any(n >= MOVING_MIB * MIB for n in arrived(into)):
                        raise Failed("one had come to its end before the end")
                    return figures
            finally:
                seed.stop()
                shutil.rmtree(into, ignore_errors=True)
                shutil.rmtree(home, ignore_errors=True)
        yield Run(f"follow, {n} seeds", name, [name, L], 0, work, times=1, layout=FOLLOW)


def arrived(into):
    """bytes of each file in a folder that are on disk"""
    return [entry.stat().st_blocks * 512 for entry in os.scandir(into)]


def has_data(path, start, length):
    """whether any of it was written to a sparse file"""
    with open(path, "rb") as f:
        try:
            return os.lseek(f.fileno(), start, os.SEEK_DATA) < start + length
        except OSError:                               # nothing but a hole to the end
            return False


def following(daemon, span):
    pid, alone, accompanied = daemon.proc.pid, [], []
    began, first = Usage.now(pid), None
    client = daemon.follow()
    try:
        until(lambda: client.caught_up, 60, "all rows")
        first = Usage.now(pid).since(began)
        first_bytes = client.bytes
        for turn in range(2):
            if turn:
                client = daemon.follow()
                until(lambda: client.caught_up, 60, "all rows")
            time.sleep(2)
            bytes_before, events_before = client.bytes, client.events
            accompanied.append((rest(pid, span), client.bytes - bytes_before, client.events - events_before))
            if not client.thread.is_alive():
                raise Failed("the daemon broke off while it was followed")
            client.close()
            time.sleep(2)
            alone.append(rest(pid, span))
    finally:
        client.close()
    share = lambda spans: 100 * sum(u["cpu"] for u in spans) / sum(u["wall"] for u in spans)
    with_client = [u for u, _, _ in accompanied]
    if not all(events for _, _, events in accompanied):
        raise Failed("nothing was told of transfers that moved")
    wall = sum(u["wall"] for u in with_client)
    return {"first": first["wall"], "first_bytes": first_bytes, "first_cpu": first["cpu"], "share": share(with_client) - share(alone),
            "alone": share(alone), "rate": sum(n for _, n, _ in accompanied) / wall, "events": sum(n for _, _, n in accompanied) / wall,
            "others": sum(u["others"] for u in with_client + alone)}


def rest(pid, seconds):
    before = Usage.now(pid)
    time.sleep(seconds)
    return Usage.now(pid).since(before)


# ----------------------------------------------------------------------- seek
SEEK = Layout("player's side <- seed", [
    ("1 MiB s", median("wall", "{:.2f}")), ("min..max", spread("wall", "{:.2f}")), ("first s", median("first", "{:.2f}"))],
    "daemon-seek: from asking for 1 MiB at nine tenths of an unfinished file until its first byte and all of it are there. The seed's address "
    "lies behind a line of 20 Mbit/s (packets of 1500 bytes, 40 ms of queue). 'Beside': 20 other transfers come over the same line meanwhile. "
    "Starling by its content listener; libtorrent by piece deadlines, without a listener.")
LINE = 20                # Mbit/s
HEAD = 10                # seconds of fetching before the seek


def seek(world, o):
    for others in (0, MOVING):
        for player, seed in [(S, L), (S, S), (L, L)]:
            def work(others=others, player=player, seed=seed):
                mib = 256 if o.quick else 1024
                film = world.payload(mib)
                torrents = [world.torrent(film, "v1", MIB)]
                beside, folder = world.several(MOVING, MOVING_MIB)
                torrents += beside[:others]
                world.tracker.reset()
                line, into = None, fresh(f"{world.ram}/into")
                giver = Giver(world, seed, torrents, [os.path.dirname(film)] + [folder] * others)
                try:
                    world.tracker.seeds.append(("10.77.0.1", 7001))
                    line = Link("10.77.0.1", LINE)
                    return PLAYERS[player](world, torrents, into, film, mib * MIB * 9 // 10)
                finally:
                    if line:
                        line.close()
                    giver.stop()
                    shutil.rmtree(into, ignore_errors=True)
            yield Run(f"seek, {LINE} Mbit/s, {f'{others} others' if others else 'alone'}", f"{player} <- {seed}", [player, seed], 0, work, layout=SEEK)


class Giver:
    """One program that seeds all of them, each from its folder."""

    def __init__(self, world, name, torrents, folders):
        self.home = fresh(f"{world.ram}/daemons/giver")
        if name == L:
            # lt.py knows one folder: a folder of links to what is in several
            for folder in dict.fromkeys(folders):
                for file in os.listdir(folder):
                    os.symlink(f"{folder}/{file}", f"{self.home}/{file}")
            self.proc = world.spawn([VENV_PYTHON, LT, "peer", *torrents, "--save", self.home, "--bind", "10.77.0.1:7001", "--seed",
                                     "--set", "unchoke_slots_limit=100"])
            self.stop = self.proc.stop
            until(lambda: self.proc.healthy() and self.proc.said("seeding"), 30, "seed ready")
        else:
            daemon = StarlingDaemon(world, self.home, "10.77.0.1", 7001, 7217)
            self.stop = daemon.stop
            daemon.start()
            until(lambda: daemon.answers(0), 30, "API")
            daemon.free()
            for torrent, folder in zip(torrents, folders):
                daemon.add(torrent, folder=folder, assume_complete=True)
            until(lambda: daemon.ask("GET", "/transfers?state=seeding&limit=1")["total"] == len(torrents), 30, "seed ready", 0.05)


def starling_seeks(world, torrents, into, film, start):
    with Running(StarlingDaemon(world, fresh(f"{world.ram}/daemons/player")), 0) as daemon:
        numbers = daemon.fetch(torrents, into)
        until(lambda: len(arrived(into)) == len(torrents) and all(arrived(into)), 60, "all moving", 0.1)
        time.sleep(HEAD)
        if any(has_data(entry.path, start, MIB) for entry in os.scandir(into) if entry.name.startswith("payload")):
            raise Failed("what is to be fetched is there already")
        first, wall, data = read_range(daemon.content_url(numbers[0]), start, MIB)
    with open(film, "rb") as f:
        f.seek(start)
        if f.read(MIB) != data:
            raise Failed("what came is not what is there")
    return {"wall": wall, "first": first}


def libtorrent_seeks(world, torrents, into, film, start):
    proc = world.spawn([VENV_PYTHON, LibtorrentSession.script, "seek", *torrents, "--save", into, "--bind", "10.77.0.10:7010",
                        "--from", str(start), "--bytes", str(MIB), "--head", str(HEAD)])
    try:
        until(lambda: not proc.running(), 120, "seek")
        proc.healthy()
        return {key: proc.said("done")[key] for key in ("wall", "first")}
    finally:
        proc.stop()


PLAYERS = {S: starling_seeks, L: libtorrent_seeks}

DAEMON_CASES = {"daemon-start": start, "daemon-idle": idle, "daemon-api": api, "daemon-follow": follow, "daemon-seek": seek}
