#!/usr/bin/env python3
"""Starling beside other clients: wall time, CPU and memory, all measured in one run.

Run it through `cargo xtask bench`, which builds the binary and installs the contestants.
Cases: pair, disk, spread, gather, files (together: swarm), create, memory, roads, share (together: reach),
daemon-start, daemon-idle, daemon-api, daemon-follow, daemon-seek (together: daemon). Default: all.
The table goes to standard output and to target/bench/table.md, every single run as a JSON
line to target/bench/runs.jsonl. README.md tells how to read it.
"""
import argparse, fcntl, json, os, platform, sys, time

import world
from asking import Wrk
from cases import CASES, GROUPS
from clients import CLIENTS
from daemons import DAEMONS
from measure import MIB, Failed
from run import Options
from table import Table

OUT = os.path.join(world.HERE, "../target/bench")


def arguments():
    a = argparse.ArgumentParser(prog="cargo xtask bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("cases", nargs="*", metavar="CASE", help=", ".join([*GROUPS, *CASES]))
    a.add_argument("--quick", action="store_true", help="small sizes, one run each: does it work, not how fast is it")
    a.add_argument("--runs", type=int, default=3, help="runs of each contestant (default 3)")
    a.add_argument("--size", type=int, default=1024, help="MiB of the one-to-one cases; the others follow (default 1024)")
    a.add_argument("--only", action="append", default=[], help="only rows whose case and name contain this, such as 'v1' or 'starling <- starling|libtorrent <- libtorrent' (either); repeated: all of them")
    a.add_argument("--limit", type=float, default=60, help="seconds that one run may take (default 60)")
    a.add_argument("--minutes", type=float, default=120, help="no new run after this time (default 120)")
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
    absent = {name: why for name, client in {**CLIENTS, **DAEMONS, "wrk": Wrk}.items() if (why := client.missing())}
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
    notes = [machine(), *[layout.about for layout in table.layouts()], *dict.fromkeys(notes)]
    text = table.markdown() + "".join(f"\n- {note}" for note in notes) + "\n"
    print(text)
    with open(os.path.join(OUT, "table.md"), "w") as f:
        f.write(text)


def attempt(run, turn):
    try:
        figures = run.work()
    except Failed as error:
        figures = {"failed": str(error)}
    line = {"case": run.case, "name": run.name, "run": turn, "mib": run.mib,
            **{k: round(v, 6) if isinstance(v, float) else v for k, v in figures.items()}}
    with open(os.path.join(OUT, "runs.jsonl"), "a") as f:
        f.write(json.dumps({"at": time.strftime("%FT%T"), **line}) + "\n")
    print(time.strftime("%T"), f"{run.case}: {run.name}:", figures.get("failed") or brief(figures), file=sys.stderr)
    return figures


def brief(figures):
    return ", ".join(f"{k} {v / MIB:.1f} MiB" if k.startswith(("peak", "anon", "rss")) else f"{k} {v:.3g}"
                     for k, v in figures.items() if v is not None)


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown processor")
    return (f"{os.cpu_count()} × {model}, Linux {platform.release()}, {time.strftime('%F %R')}. Medians, with min..max of the first column; "
            "others: CPU seconds that the rest of the machine used meanwhile (kernel threads too; much of it means noise).")


main()
