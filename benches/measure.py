"""Processes and what they cost: wall time, CPU of the whole process tree, peak memory.

Linux only, standard library only. Nothing here knows what is being measured.
"""
import contextlib, json, mmap, os, subprocess, threading, time

MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """a contestant did not do what was asked; the message ends with its own last words"""


def until(condition, seconds, what, period=0.005):
    """waits for a condition; Failed after that many seconds"""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds:.0f} s")
        time.sleep(period)


# ------------------------------------------------------------------- /proc
def _stat(pid):
    """(parent, CPU seconds) of one process"""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / TICK


def _tree(root):
    """a process and its descendants"""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            children.setdefault(_stat(name)[0], []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _memory(pid):
    """(high-water mark of the resident set, anonymous part now), bytes"""
    value = {"VmHWM": 0, "RssAnon": 0}
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            key, _, rest = line.partition(":")
            if key in value:
                value[key] = int(rest.split()[0]) * 1024
    return value["VmHWM"], value["RssAnon"]


def machine_busy():
    """CPU seconds that the whole machine has spent on anything"""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq = map(int, f.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICK


def lo_bytes():
    """bytes that went over this namespace's lo"""
    with open("/proc/net/dev") as f:
        return next((int(line.split()[9]) for line in f if line.lstrip().startswith("lo:")), 0)


class Proc:
    """A child process with its descendants. Output goes to `log`.out and `log`.err."""
    alive = []

    def __init__(self, argv, log, env=None):
        self.argv, self.log = argv, log
        with open(log + ".out", "wb") as out, open(log + ".err", "wb") as err:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                          env={**os.environ, **(env or {})})
        self.pid = self.child.pid
        self.code = self.ended = self.total = None   # set once it has ended
        self.peak = self.anon = 0                    # bytes
        self._read, self._events = 0, []
        Proc.alive.append(self)

    def running(self):
        if self.code is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.ended = time.monotonic()
                self.code = self.child.returncode = os.waitstatus_to_exitcode(status)
                self.total = usage.ru_utime + usage.ru_stime
                Proc.alive.remove(self)
        return self.code is None

    def healthy(self):
        """running, or ended well; otherwise Failed"""
        if not self.running() and self.code != 0:
            raise Failed(f"{os.path.basename(self.argv[0])} ended with {self.code}: {self.words()}")
        return True

    def cpu(self):
        """CPU seconds so far; once ended, of all children it waited for too"""
        if not self.running():
            return self.total
        seconds = 0
        for pid in _tree(self.pid):
            with contextlib.suppress(OSError):
                seconds += _stat(pid)[1]
        return seconds

    def sample(self):
        """notes the memory high-water marks"""
        if self.code is not None:
            return
        peak = anon = 0
        for pid in _tree(self.pid):
            with contextlib.suppress(OSError):
                p, a = _memory(pid)
                peak, anon = peak + p, anon + a
        self.peak, self.anon = max(self.peak, peak), max(self.anon, anon)

    def events(self):
        """the JSON objects it has printed so far, one a line"""
        with open(self.log + ".out", "rb") as f:
            f.seek(self._read)
            text = f.read()
        whole = text.rpartition(b"\n")[0]
        if whole:
            self._read += len(whole) + 1
            for line in whole.splitlines():
                with contextlib.suppress(ValueError):
                    self._events.append(json.loads(line))
        return self._events

    def said(self, event):
        return next((e for e in self.events() if e.get("event") == event), None)

    def words(self):
        text = ""
        for end in (".out", ".err"):
            with open(self.log + end, errors="replace") as f:
                text += f.read()
        return text[-600:].strip()

    def stop(self):
        """asks it to end, then makes it end"""
        for signal, seconds in ((self.child.terminate, 5), (self.child.kill, 10)):
            if not self.running():
                return
            signal()
            with contextlib.suppress(Failed):
                until(lambda: not self.running(), seconds, "end")


class Window:
    """What each side used between start() and stop(). A side is a list of Procs."""

    def __init__(self, **sides):
        self.sides = sides

    def start(self):
        self._before = {p: p.cpu() for side in self.sides.values() for p in side}
        self._busy, self._bytes, self.first = machine_busy(), lo_bytes(), None
        self._open = True
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        self.began = time.monotonic()

    def add(self, side, proc):
        """a process that started inside the window"""
        self.sides.setdefault(side, []).append(proc)
        self._before.setdefault(proc, 0)

    def _sample(self):
        while self._open:
            for proc in [p for side in self.sides.values() for p in side]:
                proc.sample()
            time.sleep(0.05)

    def notice(self):
        """call it often: remembers when bulk data began to flow"""
        if self.first is None and lo_bytes() - self._bytes > 2 * MIB:
            self.first = time.monotonic() - self.began

    def stop(self, ended=None):
        figures = {"wall": (ended or time.monotonic()) - self.began, "first": self.first, "cpu": 0,
                   "others": machine_busy() - self._busy}
        for name, side in self.sides.items():
            for proc in side:
                proc.sample()
            used = sum(p.cpu() - self._before[p] for p in side)
            figures[f"cpu_{name}"] = used
            figures[f"peak_{name}"] = max(p.peak for p in side)
            figures[f"anon_{name}"] = max(p.anon for p in side)
            figures["cpu"] += used
        figures["others"] -= figures["cpu"]
        self._open = False
        self._sampler.join()
        return figures


class Heater:
    """Keeps the price of fresh memory out of the figures.

    A virtual machine that reports free pages to its host loses them about two seconds after
    they are freed, and the next first touch is slow: 1 to 3 s per GiB, at random. So a pool of
    touched pages is held and given back a little ahead of the bytes that the transfer needs.
    """
    CHUNK = 16 * MIB
    LEAD = 384 * MIB

    def __init__(self, size):
        self.pool = []
        zeros = bytes(MIB)
        for _ in range(size // self.CHUNK):
            chunk = mmap.mmap(-1, self.CHUNK)
            for _ in range(self.CHUNK // MIB):
                chunk.write(zeros)
            self.pool.append(chunk)

    def release(self, size):
        for _ in range(min(-(-size // self.CHUNK), len(self.pool))):
            self.pool.pop().close()

    def __enter__(self):
        """from here on pages are freed as bytes go over lo"""
        self._open = True
        self.release(self.LEAD)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def _follow(self):
        start, freed = lo_bytes(), 0
        while self._open and self.pool:
            due = lo_bytes() - start - freed
            if due > 0:
                self.release(due)
                freed += -(-due // self.CHUNK) * self.CHUNK
            time.sleep(0.02)

    def __exit__(self, *_):
        self._open = False
        self._thread.join()
        self.release(len(self.pool) * self.CHUNK)
