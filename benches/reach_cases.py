"""The roads to a peer: what each costs, and how uTP shares a line."""
import contextlib, sys, time
from clients import CLIENTS
from measure import Failed, until
from run import Run
from table import Layout, median, spread
from transfers import PIECE, transfer
from world import Line, Passed, Rules, fresh

S, L = "starling", "libtorrent"
UNENCRYPTED = ["--set", "in_enc_policy=2", "--set", "out_enc_policy=2"]
ENCRYPTED = ["--set", "in_enc_policy=0", "--set", "out_enc_policy=0", "--set", "prefer_rc4=1"]

SERVER = "http://10.77.0.1:7001/"

# What each client is told so that it takes this road and no other.
ROADS = {
    "TCP": {S: ["--no-utp", "--encryption", "refuse"], L: UNENCRYPTED},
    "MSE, plain payload": {S: ["--no-utp"], L: [*ENCRYPTED, "--set", "allowed_enc_level=1"]},
    "MSE, RC4": {S: ["--no-utp", "--encryption", "require"], L: [*ENCRYPTED, "--set", "allowed_enc_level=2"]},
    "uTP": {S: ["--encryption", "refuse"], L: ["--utp", *UNENCRYPTED]},
    # A torrent may name no server of this network; a person may.
    "web": {S: ["--no-utp", "--web-seed", SERVER]},
}
LOSSES = [("uTP", 0), ("uTP, 2 % lost", 2)]

def no_tcp(way):
    return f"chain no_tcp {{ type filter hook {way} priority 0; tcp dport {{ 7001-7020 }} reject with tcp reset; }};"


def losing(percent):
    return f"chain lost {{ type filter hook input priority 1; meta l4proto udp numgen random mod 100 < {percent} drop; }};"


def roads(world, o):
    """one seed, one downloader, one file, over each road"""
    both = [(S, S), (L, L), (S, L), (L, S)]
    for road in ("TCP", "MSE, plain payload", "MSE, RC4"):
        for leecher, seed in both:
            yield one(world, o, road, road, leecher, seed, o.mib, "")
    for title, lost in LOSSES:
        # libtorrent takes a minute or more for a GiB of it.
        mib = max(o.mib // (16 if lost else 4), 16)
        for leecher, seed in both:
            yield one(world, o, title, "uTP", leecher, seed, mib, no_tcp("input") + (losing(lost) if lost else ""))
    for leecher in (S, L):
        yield one(world, o, "web seed", "web", leecher, "nginx", o.mib, "")


def one(world, o, title, road, leecher, seed, mib, rules):
    def work():
        source = world.payload(mib)
        torrent = world.torrent(source, "v1", PIECE, SERVER if seed == "nginx" else None)
        with Rules("road", rules):
            return transfer(world, o, torrent, source, [seed], [leecher], mib, limit=4 * o.limit,
                            roads=ROADS[road])
    return Run(f"{title}, {mib} MiB, v1, tmpfs", f"{leecher} <- {seed}", [leecher, seed], mib, work)


# ------------------------------------------------------------------- sharing a line
MBIT, QUEUE = 20, 500        # packets: 300 ms
SHARE = Layout("who", [
    ("first Mbit/s", median("first_flow", "{:.1f}")), ("second Mbit/s", median("second_flow", "{:.1f}")),
    ("second's share", median("share", "{:.1%}")), ("min..max", spread("share", "{:.1%}")), ("larger : smaller", median("ratio", "{:.2f}"))],
    f"Two flows on a line of {MBIT} Mbit/s with a queue of 300 ms; the second comes later. Bytes of a minute, counted where they arrive.")


def share(world, o):
    """uTP beside TCP, and beside itself, on a narrow line"""
    cubic, bbr = tcp("cubic"), tcp("bbr")
    for title, flows in [("uTP, then TCP", (utp, cubic)), ("TCP, then uTP", (cubic, utp)), ("uTP, then TCP with BBR", (utp, bbr)),
                         ("uTP, then uTP", (utp, utp))]:
        for name in (S, L):
            yield Run(title, name, [name], 0, lambda name=name, flows=flows: beside(world, o, name, flows), 2, SHARE)


def beside(world, o, name, flows):
    """each flow begins when those before it have had time to find their place"""
    warm, minute = (5, 8) if o.quick else (20, 60)
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(contextlib.closing(Line(world, MBIT, QUEUE)))
        stack.enter_context(Rules("road", no_tcp("forward"), line.router.enter))
        ports = []
        for n, flow in enumerate(flows, 1):
            ports.append(flow(line, o, name, n, stack))
            time.sleep(warm)
        counted = stack.enter_context(Passed(ports, line.router))
        time.sleep(minute)
        a, b = [n * 8 / 1e6 / minute for n in counted.bytes()]
    if min(a, b) == 0:
        raise Failed(f"nothing flowed: {a:.2f} and {b:.2f} Mbit/s")
    return {"first_flow": a, "second_flow": b, "share": b / (a + b), "ratio": max(a, b) / min(a, b)}


def utp(line, o, name, n, stack):
    """a seed, and somebody at the other end who fetches from it; where the bytes go to"""
    source = line.near.payload(max(o.mib, 256))
    torrent = line.near.torrent(source, "v1", PIECE << n)   # a swarm of their own
    seed = CLIENTS[name](line.near, n, torrent, source=source, road=ROADS["uTP"][name])
    taker = CLIENTS[name](line.far, 4 + n, torrent, into=fresh(f"{line.far.ram}/into{n}"), road=ROADS["uTP"][name])
    stack.callback(seed.stop)
    stack.callback(taker.stop)
    seed.begin()
    until(seed.ready, 120, "seed ready", 0.05)
    line.far.tracker.reset()
    line.far.tracker.seeds.append((seed.ip, seed.port))
    taker.begin()
    return "udp", taker.port


def tcp(control):
    """as much as TCP brings to the other end, with this congestion control"""
    def flow(line, o, name, n, stack):
        port = 9000 + n
        sink = line.far.spawn([sys.executable, "-c", f"""
import socket
from_near, _ = socket.create_server(("", {port})).accept()
while from_near.recv(1 << 16): pass"""])
        source = line.near.spawn([sys.executable, "-c", f"""
import socket, time
while True:
    to_far = socket.socket()
    to_far.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"{control}")
    try: to_far.connect(("{line.far.NETWORK}.1", {port})); break
    except ConnectionRefusedError: time.sleep(0.1)
while True: to_far.sendall(bytes(1 << 16))"""])
        stack.callback(sink.stop)
        stack.callback(source.stop)
        return "tcp", port
    return flow


REACH_CASES = {"roads": roads, "share": share}
