#!/usr/bin/env python3
"""Starling beside other clients: wall time, CPU and memory, all measured in one run.

Run it through `cargo xtask bench`, which builds the binary and installs the contestants.
Cases: pair, disk, spread, gather, files (together: swarm), create, memory. Default: all.
The table goes to standard output and to target/bench/table.md, every single run as a JSON
line to target/bench/runs.jsonl. README.md tells how to read it.
"""
import argparse, fcntl, json, os, platform, statistics, sys, time

import world
from cases import CASES, GROUPS, Options
from clients import CLIENTS
from measure import MIB, Failed

OUT = os.path.join(world.HERE, "../target/bench")


def arguments():
    a = argparse.ArgumentParser(prog="cargo xtask bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("cases", nargs="*", metavar="CASE", help=", ".join([*GROUPS, *CASES]))
    a.add_argument("--quick", action="store_true", help="small sizes, one run each: does it work, not how fast is it")
    a.add_argument("--runs", type=int, default=3, help="runs of each contestant (default 3)")
    a.add_argument("--size", type=int, default=1024, help="MiB of the one-to-one cases; the others follow (default 1024)")
    a.add_argument("--only", action="append", default=[], help="only rows whose case and name contain this, such as 'v1' or 'starling <- starling|libtorrent <- libtorrent' (either); repeated: all of them")
    a.add_argument("--limit", type=float, default=60, help="seconds that one run may take (default 60)")
    a.add_argument("--minutes", type=float, default=60, help="no new run after this time (default 60)")
    o = a.parse_intermixed_args()
    if o.quick:
        o.size, o.runs = min(o.size, 64), 1
    names = [case for name in o.cases or GROUPS for case in GROUPS.get(name, [name])]
    unknown = [name for name in names if name not in CASES]
    if unknown:
        a.error(f"no case {unknown[0]!r}; there are {', '.join([*GROUPS, *CASES])}")
    return o, list(dict.fromkeys(names))


def main():
    o, names = arguments()
    world.enter()
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "lock"), "w") as lock:   # two at once would measure each other
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = world.World(world.fresh(os.path.join(OUT, "run")))
        try:
            measure(place, o, names)
        finally:
            place.close()


def measure(place, o, names):
    end = time.monotonic() + 60 * o.minutes
    table, notes = Table(), []
    absent = {name: why for name, client in CLIENTS.items() if (why := client.missing())}
    notes += [f"{name} did not take part: {why}." for name, why in absent.items()]
    options = Options(o.size, o.limit, o.quick)
    for name in names:
        runs = [r for r in CASES[name](place, options)
                if not absent.keys() & set(r.needs) and all(any(word in f"{r.case} {r.name}" for word in words.split("|")) for words in o.only)]
        for run in runs:
            table.row(run)
        for turn in range(o.runs):
            for run in runs:
                if run.times and turn >= run.times:
                    continue
                if time.monotonic() > end:
                    notes.append(f"Time was up after {o.minutes:g} minutes, before run {turn + 1} of {run.name} ({run.case}).")
                    break
                table.add(run, attempt(run, turn))
    text = table.markdown() + "".join(f"\n- {note}" for note in [*machine(), *dict.fromkeys(notes)]) + "\n"
    print(text)
    with open(os.path.join(OUT, "table.md"), "w") as f:
        f.write(text)


def attempt(run, turn):
    try:
        figures = run.work()
    except Failed as error:
        figures = {"failed": str(error)}
    line = {"case": run.case, "name": run.name, "run": turn, "mib": run.mib,
            **{k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}}
    with open(os.path.join(OUT, "runs.jsonl"), "a") as f:
        f.write(json.dumps({"at": time.strftime("%FT%T"), **line}) + "\n")
    print(time.strftime("%T"), f"{run.case}: {run.name}:", figures.get("failed") or brief(figures), file=sys.stderr)
    return figures


def brief(figures):
    return ", ".join(f"{k} {v / MIB:.0f} MiB" if k.startswith(("peak", "anon")) else f"{k} {v:.2f}"
                     for k, v in figures.items() if v is not None)


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown processor")
    yield f"{os.cpu_count()} × {model}, Linux {platform.release()}, {time.strftime('%F %R')}."
    yield ("wall: from the start of the downloader to complete, checked and on disk; first: until 2 MiB had flowed; CPU: user and system, "
           "all processes of that side; peak: VmHWM, which counts mapped file pages too, and in brackets the most anonymous memory seen; "
           "sent: IP bytes that left the first seed, in file sizes; others: CPU seconds that the rest of the machine used meanwhile "
           "(kernel threads too; much of it means noise).")
    yield "Medians, with min..max of wall. Every result was compared with its source."


class Table:
    COLUMNS = [("wall s", "wall", "{:.2f}"), ("first s", "first", "{:.2f}"), ("CPU s", "cpu", "{:.2f}"), ("seed", "cpu_seed", "{:.2f}"),
               ("leecher", "cpu_leecher", "{:.2f}"), ("sent", "sent", "{:.2f}"), ("others", "others", "{:.1f}")]

    def __init__(self):
        self.rows = {}

    def row(self, run):
        self.rows.setdefault((run.case, run.name), (run, []))

    def add(self, run, figures):
        self.rows[run.case, run.name][1].append(figures)

    def markdown(self):
        heads = ["case", "leecher <- seed", "runs", "wall s", "min..max", "MB/s", *[c[0] for c in self.COLUMNS[1:]],
                 "peak seed MiB", "peak leecher MiB"]
        lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
        for (case, name), (run, all_figures) in self.rows.items():
            good = [f for f in all_figures if "failed" not in f]
            if not good:
                why = all_figures[0]["failed"].replace("\n", " ").replace("|", "/")[:120] if all_figures else "not run"
                lines.append(f"| {case} | {name} | 0 | {why} |" + " |" * (len(heads) - 4))
                continue
            bad = len(all_figures) - len(good)
            wall = [f["wall"] for f in good if f["wall"]]
            cells = [case, name, f"{len(good)}" + (f" (+{bad} failed)" if bad else ""), median(good, *self.COLUMNS[0][1:]),
                     f"{min(wall):.2f}..{max(wall):.2f}" if wall else "", f"{run.mib * MIB / 1e6 / statistics.median(wall):.0f}" if wall else "",
                     *[median(good, key, form) for _, key, form in self.COLUMNS[1:]], peak(good, "seed"), peak(good, "leecher")]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def median(figures, key, form):
    values = [f[key] for f in figures if f.get(key) is not None]
    return form.format(statistics.median(values)) if values else ""


def peak(figures, side):
    values = [(f[f"peak_{side}"], f[f"anon_{side}"]) for f in figures if f"peak_{side}" in f]
    return f"{max(v[0] for v in values) / MIB:.0f} ({max(v[1] for v in values) / MIB:.0f})" if values else ""


main()
