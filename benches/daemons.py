"""One class per daemon: how it is started, filled with torrents and asked for lists.

Each has one address, and a home that outlives it: what was filled in one run is there in the
next. No contestant uses DHT, local discovery, port mapping or uTP, and none waits in a queue.
"""
import base64, contextlib, http.client, json, os, shutil, socket, ssl, struct, zlib
from asking import Poll, Stream, hammer, wrk
from clients import Libtorrent, Starling, Transmission, TransmissionRpc
from measure import Failed, until
from world import HERE, TRANSMISSION, VENV_PYTHON

IP, PORT = "10.77.0.10", 7010
BATCH = 200              # calls under way at once, where a client takes several
FILL_SECONDS = 900       # ten thousand torrents are much for some
PAGE_ROWS = 50


class Daemon:
    """`start` returns at once; `count` is how many torrents it tells of, None or an OSError
    while it does not answer."""
    def __init__(self, world, home):
        self.world, self.home = world, home
        self.proc = None

    def start(self):
        raise NotImplementedError

    def count(self):
        raise NotImplementedError

    def answers(self, n):
        """whether it tells of n torrents"""
        try:
            return self.count() == n
        except (OSError, http.client.HTTPException):
            return self.proc.healthy() and False

    def fill(self, torrents, folder):
        """adds seeds whose content lies in the folder, and waits until all are offered"""
        raise NotImplementedError

    def fetch(self, torrents, folder):
        """adds downloads into the folder"""
        raise NotImplementedError

    def stop(self):
        if self.proc and self.proc.running():
            self.proc.child.terminate()
            with contextlib.suppress(Failed):
                until(lambda: not self.proc.running(), 120, "end")   # some write all they know
            self.proc.stop()
        self.proc = None


class Http:
    """One connection, kept."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __call__(self, method, path, body=None, **headers):
        try:
            self.connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            reply = self.connection.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        if reply.status >= 400:
            raise Failed(f"{method} {path}: {reply.status} {text[:300]!r}")
        return json.loads(text) if text else None


class StarlingDaemon(Daemon):
    missing = Starling.missing

    def __init__(self, world, home, ip=IP, port=PORT, api=7117):
        super().__init__(world, home)
        self.ip, self.port, self.api, self.content = ip, port, api, api + 1

    def start(self):
        self.proc = self.world.spawn(
            [Starling.binary, "up", "--home", self.home, "--api", f"127.0.0.1:{self.api}", "--content", f"127.0.0.1:{self.content}",
             "--bind", f"{self.ip}:{self.port}", "--no-dht", "--no-local-discovery"],
            {"HOME": self.home, "XDG_CONFIG_HOME": self.home})
        self.http = Http(self.api)

    def ask(self, method, path, body=None, kind="application/json"):
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        return self.http(method, "/api/v1" + path, body, Authorization=self.token(), Content_Type=kind)

    def token(self):
        with open(f"{self.home}/api-token") as f:
            return "Bearer " + f.read().strip()

    def count(self):
        return self.ask("GET", "/transfers?limit=1")["total"]

    def add(self, torrent, **options):
        with open(torrent, "rb") as f:
            metainfo = f.read()
        part = b"--cut\r\nContent-Disposition: form-data; name=\"%s\"%s\r\nContent-Type: %s\r\n\r\n%s\r\n"
        body = (part % (b"options", b"", b"application/json", json.dumps(options).encode())
                + part % (b"torrent", b"; filename=\"t.torrent\"", b"application/x-bittorrent", metainfo) + b"--cut--\r\n")
        return self.ask("POST", "/transfers", body, "multipart/form-data; boundary=cut")

    def free(self):
        """all may run at once, and addresses of the own network are nothing special"""
        self.ask("PATCH", "/settings", {"queue": {"downloads": 0, "seeds": 0}, "lan_free": False, "metered": {"action": "ignore"}})

    def fill(self, torrents, folder):
        self.free()
        for torrent in torrents:
            self.add(torrent, folder=folder, assume_complete=True)
        until(lambda: self.ask("GET", "/transfers?state=seeding&limit=1")["total"] == len(torrents), FILL_SECONDS, "all seeding", 0.5)

    def fetch(self, torrents, folder):
        self.free()
        return [self.add(torrent, folder=folder)["id"] for torrent in torrents]

    # ------------------------------------------------------------ under load
    pages = {"": f"/transfers?limit={PAGE_ROWS}", ", by name, from the middle": f"/transfers?limit={PAGE_ROWS}&sort=name&offset=475"}

    def load(self, connections, seconds, page):
        return wrk(self.world, f"http://127.0.0.1:{self.api}/api/v1{self.pages[page]}", connections, seconds, {"Authorization": self.token()})

    def follow(self):
        return Stream(self.api, "/api/v1/events", self.token())

    # --------------------------------------------------------------- content
    def content_url(self, number):
        return self.ask("GET", f"/transfers/{number}/files")["items"][0]["content_url"]


class TransmissionDaemon(Daemon):
    missing = Transmission.missing
    pages = {"": None}
    fields = ["id", "name", "hashString", "status", "errorString", "error", "totalSize", "sizeWhenDone", "haveValid", "downloadedEver",
              "uploadedEver", "corruptEver", "rateDownload", "rateUpload", "eta", "uploadRatio", "peersConnected", "webseedsSendingToUs",
              "group", "labels", "downloadDir", "addedDate", "doneDate", "queuePosition", "downloadLimit", "uploadLimit", "seedRatioLimit",
              "isPrivate", "file-count", "pieceCount", "percentDone", "recheckProgress", "magnetLink", "isFinished"]

    def start(self):
        settings = Transmission.settings(IP, PORT)
        with open(f"{self.home}/settings.json", "w") as f:
            json.dump({**settings, "download-queue-enabled": False, "preallocation": 0}, f)
        self.proc = self.world.spawn([TRANSMISSION, "-f", "-g", self.home])
        self.rpc = TransmissionRpc(PORT + 1000)

    def count(self):
        return self.rpc("session-stats")["torrentCount"]

    def fill(self, torrents, folder):
        self.fetch(torrents, folder)

        def offered():
            found = self.rpc("torrent-get", fields=["status", "percentDone"])["torrents"]
            return sum(t["status"] == 6 and t["percentDone"] == 1 for t in found) == len(torrents)
        until(offered, FILL_SECONDS, "all seeding", 2)

    def fetch(self, torrents, folder):
        for torrent in torrents:
            with open(torrent, "rb") as f:
                self.rpc("torrent-add", metainfo=base64.b64encode(f.read()).decode(), **{"download-dir": folder})

    def load(self, connections, seconds, _):
        body = f"{self.world.ram}/page.json"
        with open(body, "w") as f:
            json.dump({"method": "torrent-get", "arguments": {"ids": list(range(1, PAGE_ROWS + 1)), "fields": self.fields}}, f)
        self.rpc("session-stats")                      # its token is known then
        return wrk(self.world, self.rpc.url, connections, seconds, {"X-Transmission-Session-Id": self.rpc.token}, body)

    def follow(self):
        self.rpc("session-stats")
        ask = json.dumps({"method": "torrent-get", "arguments": {"ids": "recently-active", "fields": self.fields}}).encode()
        connection = Http(PORT + 1000).connection

        def poll():
            connection.request("POST", "/transmission/rpc", ask, {"X-Transmission-Session-Id": self.rpc.token})
            return len(connection.getresponse().read())
        return Poll(poll)


class DelugeDaemon(Daemon):
    rpc_port = 8846      # its own, 58846, is among those that connections get
    pages = {"": None}
    fields = ["name", "hash", "state", "message", "total_size", "total_wanted", "total_done", "all_time_download", "total_uploaded",
              "download_payload_rate", "upload_payload_rate", "eta", "ratio", "num_peers", "num_seeds", "total_peers", "total_seeds",
              "owner", "download_location", "time_added", "completed_time", "queue", "max_download_speed", "max_upload_speed",
              "stop_ratio", "sequential_download", "private", "num_files", "num_pieces", "progress", "tracker_host", "is_finished"]

    @classmethod
    def missing(cls):
        return None if shutil.which("deluged") else "deluged is not installed"

    def start(self):
        if not os.path.exists(f"{self.home}/auth"):
            with open(f"{self.home}/auth", "w") as f:
                f.write("bench:bench:10\n")
            config = {"daemon_port": self.rpc_port, "listen_interface": IP, "listen_ports": [PORT, PORT], "random_port": False, "dht": False,
                      "lsd": False, "upnp": False, "natpmp": False, "utpex": True, "new_release_check": False, "max_active_seeding": -1,
                      "max_active_downloading": -1, "max_active_limit": -1}
            with open(f"{self.home}/core.conf", "w") as f:
                f.write(json.dumps({"file": 1, "format": 1}) + json.dumps(config))
        self.proc = self.world.spawn(["deluged", "-d", "-c", self.home, "-L", "error", "-u", "127.0.0.1", "-p", str(self.rpc_port)],
                                     {"HOME": self.home})
        self.rpc = None

    def ask(self, method, *args):
        if self.rpc is None:
            self.rpc = DelugeRpc(self.rpc_port)
        try:
            return self.rpc(method, *args)
        except OSError:
            self.rpc = None
            raise

    def count(self):
        return len(self.ask("core.get_session_state"))

    def add(self, torrents, options):
        calls = []
        for torrent in torrents:
            with open(torrent, "rb") as f:
                dump = base64.b64encode(f.read())
            calls.append(("core.add_torrent_file_async", os.path.basename(torrent), dump, options, torrent == torrents[-1]))
        self.ask("daemon.info")
        for i in range(0, len(calls), BATCH):
            self.rpc.many(calls[i:i + BATCH])

    def fill(self, torrents, folder):
        self.add(torrents, {"download_location": folder, "seed_mode": True})

        def offered():
            return len(self.ask("core.get_torrents_status", {"state": "Seeding"}, ["state"])) == len(torrents)
        until(offered, FILL_SECONDS, "all seeding", 2)

    def fetch(self, torrents, folder):
        self.add(torrents, {"download_location": folder})

    def load(self, connections, seconds, _):
        page = self.ask("core.get_session_state")[:PAGE_ROWS]
        return hammer(lambda: DelugeRpc(self.rpc_port), ("core.get_torrents_status", {"id": page}, self.fields), connections, seconds)

    def follow(self):
        rpc = DelugeRpc(self.rpc_port)

        def poll():
            rpc("core.get_torrents_status", {}, self.fields, True)
            return rpc.size
        return Poll(poll)


class LibtorrentSession(Daemon):
    """no API, no client: a session and its resume data"""
    missing = Libtorrent.missing
    script = os.path.join(HERE, "lt_session.py")

    def start(self):
        state = f"{self.home}/state"
        os.makedirs(state, exist_ok=True)
        self.proc = self.world.spawn([VENV_PYTHON, self.script, "run", state, "--bind", f"{IP}:{PORT}"])

    def count(self):
        self.proc.healthy()
        ready = self.proc.said("ready")
        return ready and ready["torrents"]

    def fill(self, torrents, folder):
        chosen = f"{self.home}/chosen"
        os.makedirs(chosen)
        for torrent in torrents:
            os.symlink(torrent, f"{chosen}/{os.path.basename(torrent)}")
        made = self.world.spawn([VENV_PYTHON, self.script, "keep", chosen, f"{self.home}/state", "--save", folder])
        until(lambda: not made.running(), FILL_SECONDS, "resume data")
        made.healthy()


DAEMONS = {"starling": StarlingDaemon, "transmission": TransmissionDaemon, "deluge": DelugeDaemon, "libtorrent": LibtorrentSession}


# ------------------------------------------------------------------ protocols
class DelugeRpc:
    """deluged's own protocol, as a client of its kind speaks it: TLS; one byte 1, the length,
    zlib of rencode."""

    def __init__(self, port):
        import rencode                                # comes with deluged
        self.rencode = rencode
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", port), timeout=FILL_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self.number, self.size = context.wrap_socket(plain), 0, 0
        self.call("daemon.login", ("bench", "bench"), {"client_version": "2.0"})

    def __call__(self, method, *args):
        return self.call(method, args, {})

    def call(self, method, args, named):
        number = self.send(method, args, named)
        return self.answer({number})[1]

    def many(self, calls):
        """all at once: deluged looks for the end of what it began three times a second"""
        open_calls = {self.send(method, args, {}) for method, *args in calls}
        while open_calls:
            open_calls.remove(self.answer(open_calls)[0])

    def send(self, method, args, named):
        self.number += 1
        body = zlib.compress(self.rencode.dumps(((self.number, method, args, named),)))
        self.socket.sendall(struct.pack("!BI", 1, len(body)) + body)
        return self.number

    def answer(self, expected):
        self.size = struct.unpack("!BI", self.read(5))[1]
        kind, number, *rest = self.rencode.loads(zlib.decompress(self.read(self.size)), decode_utf8=True)
        if kind != 1 or number not in expected:
            raise Failed(f"deluged: {rest}")
        return number, rest[0]

    def read(self, size):
        data = bytearray()
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("deluged hung up")
            data += more
        return bytes(data)
