"""What one process uses, finely: CPU to the nanosecond, wake-ups, memory now.

`measure.Window` watches whole process trees over a transfer; a daemon that rests uses too
little for that.
"""
import contextlib, dataclasses, os, time
from measure import machine_busy


def cpu(pid):
    """CPU seconds of a process so far, threads that have ended included: what
    clock_getcpuclockid(3) would read"""
    return time.clock_gettime((~pid << 3) | 2)


def switches(pid):
    """{thread: how often it was put on a processor}: each switch away was preceded by a wake-up
    or by others who wanted the processor"""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/status") as f:
            found[thread] = sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return found


def memory(pid):
    """(resident, of that anonymous), bytes: counted page by page, unlike /proc/PID/status"""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in f if line.endswith(" kB\n")}
    return sizes["Rss"], sizes["Anonymous"]


@dataclasses.dataclass
class Usage:
    """What a process has used up to a moment."""
    at: float
    cpu: float
    busy: float              # CPU seconds of the whole machine
    switches: dict

    @classmethod
    def now(cls, pid):
        return cls(time.monotonic(), cpu(pid), machine_busy(), switches(pid))

    def since(self, before):
        """figures of the time between"""
        used = self.cpu - before.cpu
        return {"wall": self.at - before.at, "cpu": used, "others": self.busy - before.busy - used,
                "wakeups": sum(n - before.switches.get(thread, 0) for thread, n in self.switches.items()),
                "threads": len(self.switches)}
