"""The place where contestants meet: a namespace of their own, a tracker, content, torrents."""
import hashlib, http.server, json, os, shutil, socket, struct, subprocess, sys, threading, urllib.parse
from measure import MIB, Proc, until

HERE = os.path.dirname(os.path.abspath(__file__))
LT = os.path.join(HERE, "../crates/interop/clients/lt.py")
TOOLS = os.path.normpath(os.path.join(HERE, "../target/interop"))   # `cargo xtask setup` fills it
VENV_PYTHON = f"{TOOLS}/venv/bin/python"
ARIA2, TRANSMISSION = f"{TOOLS}/aria2c", f"{TOOLS}/transmission-daemon"
TRACKER = ("10.77.0.20", 6969)
TRACKER_URL = "http://%s:%d/announce" % TRACKER


def enter():
    """Starts this program again inside namespaces of its own (network, mounts, processes) unless
    it is there already. When it ends, however it ends, every process and mount in them ends too."""
    if os.environ.get("BENCH_INSIDE"):
        return
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    inner = 'mount -t proc proc /proc && BENCH_INSIDE=1 "$@"'
    os.execvp("unshare", ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--",
                          "sh", "-c", inner, "sh", sys.executable, "-u", *sys.argv])


class World:
    """Peers live on 10.77.0.1 to .20, one address each: transmission takes no peers in
    127.0.0.0/8, and libtorrent only one connection per address."""
    NETWORK = "10.77.0"

    def __init__(self, folder):
        batch = "link set lo up\n" + "".join(f"addr add 10.77.0.{i}/32 dev lo\n" for i in range(1, 21))
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
        # Bigger than memory, so that a huge sparse file is not refused for want of room.
        self.top, self.ram = folder, f"{folder}/ram"
        os.makedirs(self.ram, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512g,nr_inodes=4m", "bench", self.ram], check=True)
        self.disk = fresh(f"{folder}/disk")
        self.tracker = Tracker()
        self._logs = 0
        os.makedirs(f"{self.ram}/logs")

    def close(self):
        for proc in list(Proc.alive):
            proc.stop()
        subprocess.run(["umount", "--lazy", self.ram])
        shutil.rmtree(self.top)

    def spawn(self, argv, env=None):
        self._logs += 1
        return Proc(argv, f"{self.ram}/logs/{self._logs}", env)

    # ------------------------------------------------------------ content
    def payload(self, mib, on="ram"):
        """one random file"""
        path = f"{getattr(self, on)}/{mib}/payload.bin"
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                for _ in range(mib):
                    f.write(os.urandom(MIB))
        return path

    def folder(self, count, size):
        """many random files of one size, a hundred in each subfolder"""
        top = f"{self.ram}/{count}x{size}/files"
        if not os.path.exists(top):
            for i in range(count):
                if i % 100 == 0:
                    os.makedirs(f"{top}/{i // 100:04}")
                with open(f"{top}/{i // 100:04}/{i:06}.bin", "wb") as f:
                    f.write(os.urandom(size))
        return top

    def torrent(self, path, kind, piece_size, web_seed=None):
        """made by libtorrent, with our tracker in it"""
        out = f"{self.ram}/{path.replace('/', '-')}-{kind}-{piece_size}{'-web' if web_seed else ''}.torrent"
        if not os.path.exists(out):
            subprocess.run([VENV_PYTHON, LT, "create", path, out, "--kind", kind, "--piece-size", str(piece_size),
                            "--tracker", TRACKER_URL, *(["--web-seed", web_seed] if web_seed else [])], check=True, stdout=subprocess.DEVNULL)
        return out

    def tiny(self, count):
        """(torrents, folder): many v1 torrents of one 16 KiB file each, without trackers"""
        folder, torrents = f"{self.ram}/tiny", f"{self.ram}/tiny-torrents"
        os.makedirs(folder, exist_ok=True)
        os.makedirs(torrents, exist_ok=True)
        made = []
        for i in range(count):
            name, data = f"tiny{i:05}.bin", os.urandom(16384)
            made.append(f"{torrents}/{name}.torrent")
            if os.path.exists(made[-1]):
                continue
            with open(f"{folder}/{name}", "wb") as f:
                f.write(data)
            info = {"name": name, "piece length": 16384, "length": 16384, "pieces": hashlib.sha1(data).digest()}
            with open(made[-1], "wb") as f:
                f.write(bencode({"info": info}))
        return made, folder

    def several(self, count, mib):
        """(torrents, folder): random files of some size, with our tracker"""
        folder = f"{self.ram}/several-{mib}"
        os.makedirs(folder, exist_ok=True)
        made = []
        for i in range(count):
            path = f"{folder}/{i:02}.bin"
            if not os.path.exists(path):
                with open(path, "wb") as f:
                    for _ in range(mib):
                        f.write(os.urandom(MIB))
            made.append(self.torrent(path, "v1", 256 * 1024))
        return made, folder

    def sparse(self, gib, piece_size=16 * MIB):
        """(path, hybrid torrent) of a file that is one hole. All its pieces are alike, so the
        torrent can be written down without reading that much."""
        path, out = f"{self.ram}/sparse/hole.bin", f"{self.ram}/sparse.torrent"
        size, pieces = gib << 30, (gib << 30) // piece_size
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.truncate(size)
        sha256 = lambda data: hashlib.sha256(data).digest()
        node, pad, blocks = sha256(bytes(16384)), bytes(32), piece_size // 16384
        while blocks > 1:
            node, pad, blocks = sha256(node + node), sha256(pad + pad), blocks // 2
        layer = row = [node] * pieces
        row = row + [pad] * ((1 << (pieces - 1).bit_length()) - pieces)
        while len(row) > 1:
            row = [sha256(a + b) for a, b in zip(row[::2], row[1::2])]
        info = {"name": "hole.bin", "piece length": piece_size, "length": size, "meta version": 2,
                "pieces": hashlib.sha1(bytes(piece_size)).digest() * pieces,
                "file tree": {"hole.bin": {"": {"length": size, "pieces root": row[0]}}}}
        with open(out, "wb") as f:
            f.write(bencode({"announce": TRACKER_URL, "info": info, "piece layers": {row[0]: b"".join(layer)}}))
        return path, out


def fresh(path):
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def same(a, b):
    """whether two files, or two folders, hold the same bytes"""
    compare = ["diff", "-rq", a, b] if os.path.isdir(a) else ["cmp", "-s", a, b]
    return subprocess.run(compare, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    pairs = sorted((key.encode() if isinstance(key, str) else key, item) for key, item in value.items())
    return b"d" + b"".join(bencode(key) + bencode(item) for key, item in pairs) + b"e"


class Tracker:
    """Answers with the seeds, and with those downloaders that have announced before. (If all
    learn of all at once, connections cross, and some clients then drop both.) Peers are known
    by their ports, because not every client binds the socket it announces from."""

    def __init__(self):
        self.reset()
        tracker = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = tracker.answer(urllib.parse.urlsplit(self.path).query)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 256

            def handle_error(self, *_):
                """a client that hangs up early is nobody's trouble"""

        threading.Thread(target=Server(TRACKER, Handler).serve_forever, daemon=True).start()

    def reset(self):
        self.seeds, self.others, self.seen = [], [], set()

    def answer(self, query):
        port = int(urllib.parse.parse_qs(query, encoding="latin-1").get("port", ["0"])[0])
        peers = [p for p in self.seeds + [o for o in self.others if o[1] in self.seen] if p[1] != port]
        self.seen.add(port)
        packed = b"".join(socket.inet_aton(ip) + struct.pack(">H", p) for ip, p in peers)
        return bencode({"interval": 30, "min interval": 5, "peers": packed})


class Link:
    """A line of so many bits a second behind which an address lies: what it sends waits there,
    in packets of 1500 bytes, at most `QUEUE` of them."""
    QUEUE = 64               # packets; 40 ms at 20 Mbit/s

    def __init__(self, ip, mbit):
        for command in (["ip", "link", "set", "lo", "mtu", "1500", "gso_max_size", "1500"],
                        ["tc", "qdisc", "add", "dev", "lo", "root", "handle", "1:", "htb"],
                        ["tc", "class", "add", "dev", "lo", "parent", "1:", "classid", "1:10", "htb", "rate", f"{mbit}mbit",
                         "burst", "15k", "quantum", "1514"],
                        ["tc", "qdisc", "add", "dev", "lo", "parent", "1:10", "pfifo", "limit", str(self.QUEUE)],
                        ["nft", "add table ip line; add chain ip line out { type filter hook output priority 0; }; "
                         f"add rule ip line out ip saddr {ip} meta priority set 1:10"]):
            subprocess.run(command, check=True)

    def close(self):
        for command in (["nft", "delete table ip line"], ["tc", "qdisc", "del", "dev", "lo", "root"],
                        ["ip", "link", "set", "lo", "mtu", "65536", "gso_max_size", "65536"]):
            subprocess.run(command, check=True)


class Place:
    """A network namespace, with the World's folders. Peers in it live on NETWORK.1 to .9."""

    def __init__(self, world, network):
        self._world, self.NETWORK = world, network
        self._proc = world.spawn(["unshare", "--net", "sleep", "infinity"])
        pid = self._proc.pid
        here = os.stat("/proc/self/ns/net")
        until(lambda: os.stat(f"/proc/{pid}/ns/net") != here, 5, "a network", 0.01)
        self.pid, self.enter = pid, ["nsenter", f"--net=/proc/{pid}/ns/net"]

    def run(self, *commands):
        for command in commands:
            subprocess.run([*self.enter, *command.split()], check=True)

    def spawn(self, argv, env=None):
        return self._world.spawn([*self.enter, *argv], env)

    def __getattr__(self, name):
        return getattr(self._world, name)

    def close(self):
        self._proc.stop()


class Line:
    """Two places, `near` and `far`, and a router between them whose line to `far` is narrow. The queue is the router's:
    a kernel that sends TCP into a queue of its own holds back, and would show another picture."""

    def __init__(self, world, mbit, queue):
        self.router, self.near, self.far = Place(world, ""), Place(world, "10.78.1"), Place(world, "10.78.2")
        subprocess.run(f"ip link add line type veth peer name hub netns {self.router.pid} && ip addr add 10.78.0.1/24 dev line && "
                       "ip link set line up && ip route add 10.78.0.0/16 via 10.78.0.254", shell=True, check=True)
        self.router.run("ip addr add 10.78.0.254/24 dev hub", "ip link set hub up", "ip route add 10.77.0.0/16 via 10.78.0.1",
                        "sysctl -qw net.ipv4.ip_forward=1")
        for name, place in (("near", self.near), ("far", self.far)):
            self.router.run(f"ip link add {name} type veth peer name eth0 netns {place.pid}",
                            f"ip addr add {place.NETWORK}.254/24 dev {name}", f"ip link set {name} up")
            place.run(*[f"ip addr add {place.NETWORK}.{n}/24 dev eth0" for n in range(1, 10)], "ip link set lo up",
                      "ip link set eth0 gso_max_segs 1 up", f"ip route add default via {place.NETWORK}.254")
        self.router.run("tc qdisc add dev far root handle 1: htb default 10",
                        f"tc class add dev far parent 1: classid 1:10 htb rate {mbit}mbit burst 15k quantum 1514",
                        f"tc qdisc add dev far parent 1:10 pfifo limit {queue}")

    def close(self):
        subprocess.run(["ip", "link", "del", "line"], check=True)
        for place in (self.near, self.far, self.router):
            place.close()


class Rules:
    """Rules of nft in a table of their own, for as long as the block takes; in the place that `enter` leads to."""

    def __init__(self, name, rules, enter=()):
        self.name, self.enter = name, enter
        subprocess.run([*enter, "nft", f"table ip {name} {{ {rules}\n}}"], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([*self.enter, "nft", f"delete table ip {self.name}"], check=True)


class Counted(Rules):
    """Counts IP bytes, one number for each rule."""

    def __init__(self, hook, rules, enter=()):
        rules = "; ".join(f"{rule} counter" for rule in rules)
        subprocess.run([*enter, "nft", "add table ip bench; delete table ip bench"], check=True)
        super().__init__("bench", f"chain count {{ type filter hook {hook} priority 0; {rules}; }};", enter)

    def bytes(self):
        out = subprocess.run([*self.enter, "nft", "-j", "list", "table", "ip", "bench"], stdout=subprocess.PIPE, check=True).stdout
        rules = [item["rule"] for item in json.loads(out)["nftables"] if "rule" in item]
        return [part["counter"]["bytes"] for rule in rules for part in rule["expr"] if "counter" in part]


class SentBy(Counted):
    """What leaves from one listening port, over all connections."""

    def __init__(self, port):
        super().__init__("output", [f"meta l4proto {{ tcp, udp }} th sport {port}"])


class Passed(Counted):
    """What a router passes on to ports, given as (protocol, port)."""

    def __init__(self, flows, router):
        super().__init__("postrouting", [f"{protocol} dport {port}" for protocol, port in flows], router.enter)
