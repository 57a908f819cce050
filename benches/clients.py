"""One class per contestant.

prepare() starts a daemon outside the measured window, begin() starts the work inside it;
ready() says that a seed serves, done() that a download is complete, checked and on disk.
"""
import base64, contextlib, json, os, shutil, socket, time, urllib.error, urllib.request
from measure import until
from world import ARIA2, LT, TRANSMISSION, VENV_PYTHON, fresh


class Peer:
    """One peer at its own address. With a `source` it seeds that file or folder, else it
    downloads into `into`; with `stay` it goes on serving when it is complete."""
    usual_road = []
    is_told = True           # the tracker tells others of it

    def __init__(self, world, n, torrent, source=None, into=None, stay=False, road=None):
        self.world, self.torrent, self.source, self.stay = world, torrent, source, stay
        self.road = road if road is not None else self.usual_road   # arguments that choose how peers are reached
        self.into = into or os.path.dirname(source)
        self.ip, self.port = f"{world.NETWORK}.{n}", 7000 + n
        self.home = fresh(f"{world.ram}/home{n}")
        self.proc = None

    @classmethod
    def missing(cls):
        """why it cannot take part; None if it can"""
        return None if shutil.which(cls.program) else f"{cls.program} is not installed"

    def prepare(self):
        pass

    def begin(self):
        raise NotImplementedError

    def ready(self):
        return self.proc.healthy()

    def done(self):
        raise NotImplementedError

    def stop(self):
        if self.proc:
            self.proc.stop()


def fetch(url, data=None, headers=None):
    request = urllib.request.Request(url, data=data, headers=headers or {})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return reply.read()


class Starling(Peer):
    binary = os.environ.get("STARLING_BIN", "")
    usual_road = ["--no-utp"]

    @classmethod
    def missing(cls):
        return None if os.access(cls.binary, os.X_OK) else "STARLING_BIN names no program"

    def begin(self):
        work = (["seed", self.torrent, self.source, "--assume-complete"] if self.source else
                ["get", self.torrent, "-o", self.into, *(["--seed"] if self.stay else [])])
        self.proc = self.world.spawn(
            [self.binary, *work, "--bind", f"{self.ip}:{self.port}", "--no-dht", "--no-local-discovery", *self.road, "--json", "--yes"],
            {"HOME": self.home, "STARLING_HOME": self.home})

    def ready(self):
        return self.proc.healthy() and self.proc.said("seeding")

    def done(self):
        return self.proc.healthy() and self.proc.said("done")


class Libtorrent(Peer):
    python, options = VENV_PYTHON, []

    @classmethod
    def missing(cls):
        return None if os.path.exists(cls.python) else f"there is no {cls.python}"

    def begin(self):
        self.proc = self.world.spawn(
            [self.python, LT, "peer", self.torrent, "--save", self.into, "--bind", f"{self.ip}:{self.port}", *self.options, *self.road,
             *(["--seed"] if self.source else []), *(["--stay"] if self.stay else [])])

    def ready(self):
        return self.proc.healthy() and self.proc.said("seeding")

    def done(self):
        return self.proc.healthy() and self.proc.said("done")


class LibtorrentFast(Libtorrent):
    """libtorrent's own preset for fast machines"""
    options = ["--preset", "hps"]


class Libtorrent20(Libtorrent):
    python = "/usr/bin/python3"


class Aria2(Peer):
    program = ARIA2

    def begin(self):
        self.mark = f"{self.home}/complete"
        hook = f"{self.home}/hook"
        with open(hook, "w") as f:
            f.write(f"#!/bin/sh\n: > {self.mark}\n")
        os.chmod(hook, 0o755)
        role = ["--bt-seed-unverified=true", "--check-integrity=false", "--seed-ratio=0.0"] if self.source else \
            ["--on-bt-download-complete", hook, "--seed-ratio=0.0" if self.stay else "--seed-time=0"]
        self.proc = self.world.spawn(
            [ARIA2, "--no-conf", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--disable-ipv6",
             "--dir", self.into, "--listen-port", str(self.port), "--interface", self.ip, "--summary-interval=0",
             "--console-log-level=warn", "--show-console-readout=false", "--file-allocation=none", "--allow-overwrite=true",
             *role, self.torrent], {"HOME": self.home})
        self.began = time.monotonic()

    def ready(self):
        return self.proc.healthy() and time.monotonic() - self.began > 1   # it does not say

    def done(self):
        return self.proc.healthy() and (os.path.exists(self.mark) or not self.proc.running())


class TransmissionRpc:
    def __init__(self, port):
        self.url, self.token = f"http://127.0.0.1:{port}/transmission/rpc", ""

    def __call__(self, method, **arguments):
        body = json.dumps({"method": method, "arguments": arguments}).encode()
        try:
            return json.loads(fetch(self.url, body, {"X-Transmission-Session-Id": self.token}))["arguments"]
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            self.token = error.headers["X-Transmission-Session-Id"]
            return self(method, **arguments)


class Transmission(Peer):
    program = TRANSMISSION

    @staticmethod
    def settings(ip, port):
        """RPC on the thousand above the port"""
        return {"bind-address-ipv4": ip, "peer-port": port, "rpc-port": port + 1000, "rpc-bind-address": "127.0.0.1",
                "rpc-whitelist-enabled": False, "dht-enabled": False, "lpd-enabled": False, "utp-enabled": False,
                "port-forwarding-enabled": False, "encryption": 0}

    def prepare(self):
        with open(f"{self.home}/settings.json", "w") as f:
            json.dump(self.settings(self.ip, self.port), f)
        self.proc = self.world.spawn([TRANSMISSION, "-f", "-g", self.home])
        self.rpc = TransmissionRpc(self.port + 1000)
        until(self.answers, 30, "transmission's RPC")

    def answers(self):
        try:
            return self.rpc("session-get")
        except OSError:
            return self.proc.healthy() and False

    def begin(self):
        with open(self.torrent, "rb") as f:
            metainfo = base64.b64encode(f.read()).decode()
        self.rpc("torrent-add", metainfo=metainfo, **{"download-dir": self.into})

    def complete(self, status):
        found = self.rpc("torrent-get", fields=["percentDone", "leftUntilDone", "status"])["torrents"]
        return found and found[0]["percentDone"] == 1 and found[0]["leftUntilDone"] == 0 and found[0]["status"] in status

    def ready(self):
        return self.complete({6})

    def done(self):
        return self.complete(range(7))


class Rtorrent(Peer):
    program = "rtorrent"

    def begin(self):
        os.makedirs(f"{self.home}/session")
        self.finished, self.hashed = f"{self.home}/finished", f"{self.home}/hashed"
        with open(f"{self.home}/rc", "w") as f:
            f.write(f"""system.daemon.set = true
session.path.set = {self.home}/session
directory.default.set = {self.into}
network.bind_address.set = {self.ip}
network.port_range.set = {self.port}-{self.port}
network.port_random.set = no
dht.mode.set = disable
protocol.pex.set = yes
pieces.hash.on_completion.set = no
trackers.use_udp.set = no
method.set_key = event.download.finished, finished, "execute2={{touch,{self.finished}}}"
method.set_key = event.download.hash_done, hashed, "execute2={{touch,{self.hashed}}}"
load.start = {self.torrent}
""")
        self.proc = self.world.spawn(["rtorrent", "-n", "-o", f"import={self.home}/rc"], {"HOME": self.home, "TERM": "xterm"})

    def ready(self):
        return self.proc.healthy() and os.path.exists(self.hashed)

    def done(self):
        return self.proc.healthy() and os.path.exists(self.finished)


class Nginx(Peer):
    """a web seed"""
    program, is_told = "nginx", False

    def begin(self):
        folder = os.path.dirname(self.source)
        with open(f"{self.home}/conf", "w") as f:
            f.write(f"""daemon off; worker_processes 1; pid {self.home}/pid; error_log {self.home}/error; events {{ }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
       client_body_temp_path {self.home}; proxy_temp_path {self.home}; fastcgi_temp_path {self.home}; uwsgi_temp_path {self.home};
       scgi_temp_path {self.home};
       server {{ listen {self.ip}:{self.port}; root {folder}; }} }}
""")
        self.proc = self.world.spawn(["nginx", "-c", f"{self.home}/conf", "-g", "user root;"])

    def ready(self):
        with contextlib.suppress(OSError), socket.create_connection((self.ip, self.port), 1):
            return self.proc.healthy()


CLIENTS = {
    "nginx": Nginx,
    "starling": Starling,
    "libtorrent": Libtorrent,             # 2.1.1
    "libtorrent-fast": LibtorrentFast,
    "libtorrent-2.0": Libtorrent20,
    "aria2": Aria2,
    "transmission": Transmission,
    "rtorrent": Rtorrent,
}
