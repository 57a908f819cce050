"""Those who ask a daemon: many at once for a page, one that follows what changes, a player."""
import contextlib, multiprocessing, os, shutil, socket, threading, time, urllib.parse
from measure import Failed, until
from world import HERE


class Wrk:
    @staticmethod
    def missing():
        return None if shutil.which("wrk") else "wrk is not installed"


def wrk(world, url, connections, seconds, headers, body=None):
    """figures of a closed loop over kept connections, by wrk"""
    headers = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    proc = world.spawn(["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "30", "-s", os.path.join(HERE, "wrk.lua"), *headers, url],
                       {"BENCH_BODY": body} if body else None)
    until(lambda: not proc.running(), seconds + 60, "load")
    proc.healthy()
    done = proc.said("done")
    if not done or done["errors"]:
        raise Failed(proc.words())
    return done


def hammer(connect, call, connections, seconds):
    """the same for a protocol that wrk does not speak: a process for each connection"""
    def work(out):
        rpc, times, size = connect(), [], 0
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            rpc(*call)
            times.append(time.monotonic() - began)
            size += rpc.size
        out.send((times, size))
    began, pipes = time.monotonic(), []
    for _ in range(connections):
        ours, theirs = multiprocessing.Pipe(duplex=False)
        worker = multiprocessing.Process(target=work, args=(theirs,), daemon=True)
        worker.start()
        theirs.close()
        pipes.append((ours, worker))
    times, size = [], 0
    for ours, worker in pipes:
        try:
            found = ours.recv()
        except EOFError:
            raise Failed("a client of the load ended early") from None
        times, size = times + found[0], size + found[1]
        worker.join()
    times.sort()
    return {"requests": len(times), "seconds": time.monotonic() - began, "bytes": size, "p50": times[len(times) // 2],
            "p99": times[len(times) * 99 // 100], "errors": 0}


class Stream:
    """Follows server-sent events and counts them; `caught_up` once the first id has come."""

    def __init__(self, port, path, token):
        self.bytes = self.events = 0
        self.caught_up = False
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {token}\r\n\r\n".encode())
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        tail = b""
        with contextlib.suppress(OSError):
            while data := self.socket.recv(1 << 16):
                self.bytes += len(data)
                text = tail + data                    # a word may come in two parts
                self.events += text.count(b"\nevent: ") - tail.count(b"\nevent: ")
                self.caught_up = self.caught_up or b"\nid: " in text or b"\r\nid: " in text
                tail = text[-8:]

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()


class Poll:
    """Asks once a second for what has changed, as clients of daemons without events do."""

    def __init__(self, ask):
        self.bytes = self.events = 0
        self.caught_up, self.closed = False, threading.Event()
        self.thread = threading.Thread(target=self.read, args=(ask,), daemon=True)
        self.thread.start()

    def read(self, ask):
        while True:
            self.bytes += ask()
            self.events += 1
            self.caught_up = True
            if self.closed.wait(1):
                return

    def close(self):
        self.closed.set()
        self.thread.join()


def read_range(url, start, length):
    """(seconds to the first byte, to the last) of a part of a file"""
    parts = urllib.parse.urlsplit(url)
    began, first = time.monotonic(), None
    with socket.create_connection(("127.0.0.1", parts.port), timeout=60) as s:
        s.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nRange: bytes={start}-\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += s.recv(1 << 16) or fail("the content listener hung up")
        head, _, body = data.partition(b"\r\n\r\n")
        if b" 206 " not in head.split(b"\r\n")[0]:
            raise Failed(head.decode(errors="replace"))
        parts = [body]
        size = len(body)
        while size < length:
            if size and first is None:
                first = time.monotonic() - began
            more = s.recv(1 << 16) or fail("the content listener hung up")
            parts.append(more)
            size += len(more)
        return first or time.monotonic() - began, time.monotonic() - began, b"".join(parts)[:length]


def fail(why):
    raise Failed(why)
