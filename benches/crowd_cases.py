"""Many who are connected and wait: what each of them costs a daemon."""
import resource, selectors, socket, struct, time
from daemon_cases import Running, homes
from daemons import StarlingDaemon
from measure import MIB, Failed, until
from run import Run
from table import Layout, median
from usage import Usage, memory
from world import bencode

S = "starling"
TORRENTS, EACH = 10, 500
SETTLE, QUIET = 75, 10       # seconds: every peer has been told of a hundred others; and a look at what it costs to have them
CROWD = Layout("daemon", [
    ("RSS MiB", median("rss", "{:.1f}", MIB)), ("without peers MiB", median("alone", "{:.1f}", MIB)),
    ("KiB a connection", median("each", "{:.2f}", 1024)), ("connections", median("peers", "{:.0f}")), ("% of a core", median("share", "{:.1f}"))],
    f"crowd: a daemon seeds {TORRENTS} torrents; peers of an own make connect to each, shake hands (BEP 3, 6, 10, 11), say that they want all "
    f"and stay; RSS {SETTLE} seconds later, with what each was told of the others (BEP 11).")


class Crowd:
    """Peers that are there and do nothing."""

    def __init__(self, to):
        self.to, self.selector, self.peers = to, selectors.DefaultSelector(), []

    def join(self, info_hash):
        n = len(self.peers)
        peer = socket.create_connection(self.to)
        peer_id = b"-CR0001-" + struct.pack(">3I", n, 7, 9)
        peer.sendall(b"\x13BitTorrent protocol" + b"\0\0\0\0\0\x10\0\x04" + info_hash + peer_id)
        about = bencode({"m": {"ut_metadata": 2, "ut_pex": 1}, "p": 10_000 + n, "v": "Crowd 1"})
        peer.sendall(struct.pack(">IBB", len(about) + 2, 20, 0) + about + b"\0\0\0\1\x0f" + b"\0\0\0\1\2")
        peer.setblocking(False)
        self.selector.register(peer, selectors.EVENT_READ)
        self.peers.append(peer)

    def listen(self, seconds):
        """takes what is said, and forgets it"""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for key, _ in self.selector.select(min(left, 1)):
                try:
                    over = not key.fileobj.recv(1 << 16)
                except BlockingIOError:
                    continue
                except OSError:
                    over = True
                if over:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()

    def here(self):
        return len(self.selector.get_map())

    def leave(self):
        for peer in self.peers:
            peer.close()
        self.selector.close()


def crowd(world, o):
    """ten torrents, with up to 500 peers each"""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for each in (20, 100) if o.quick else (50, EACH):
        def work(each=each):
            home = homes(world, TORRENTS)(S)
            with Running(StarlingDaemon(world, home), TORRENTS) as daemon:
                daemon.ask("PATCH", "/settings", {"connections": {"all": TORRENTS * EACH + 100, "per_transfer": EACH + 10}})
                rows = daemon.ask("GET", f"/transfers?limit={TORRENTS}")["transfers"]
                hashes = [bytes.fromhex(row["info_hash_v1"] or row["info_hash_v2"][:40]) for row in rows]
                until(lambda: daemon.ask("GET", "/transfers?state=seeding&limit=1")["total"] == TORRENTS, 30, "all seeding", 0.2)
                alone, _ = memory(daemon.proc.pid)
                peers = Crowd((daemon.ip, daemon.port))
                try:
                    for _ in range(each):
                        for info_hash in hashes:
                            peers.join(info_hash)
                        peers.listen(0.01)
                    peers.listen(20 if o.quick else SETTLE)
                    before = Usage.now(daemon.proc.pid)
                    peers.listen(QUIET)
                    used = Usage.now(daemon.proc.pid).since(before)
                    rss, _ = memory(daemon.proc.pid)
                    if peers.here() < TORRENTS * each:
                        raise Failed(f"only {peers.here()} of {TORRENTS * each} stayed")
                finally:
                    peers.leave()
            return {"rss": rss, "alone": alone, "each": (rss - alone) / (TORRENTS * each), "peers": TORRENTS * each,
                    "share": 100 * used["cpu"] / used["wall"]}
        yield Run(f"{TORRENTS} seeds, {each} peers each", S, [S], 0, work, times=1, layout=CROWD)


CROWD_CASES = {"crowd": crowd}
