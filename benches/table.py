"""The Markdown tables: one for each layout, one row for each contestant of a case.

A layout is a list of columns, a column a heading and what it makes of a row's good runs.
"""
import dataclasses, statistics
from measure import MIB


@dataclasses.dataclass(eq=False)
class Layout:
    who: str                 # heading of the contestants
    columns: list            # (heading, (run, figures of good runs) -> text)
    about: str               # what the headings mean


def median(key, form, scale=1):
    def cell(_, figures):
        values = [f[key] for f in figures if f.get(key) is not None]
        return form.format(statistics.median(values) / scale) if values else ""
    return cell


def spread(key, form):
    """the smallest and the largest"""
    def cell(_, figures):
        values = [f[key] for f in figures if f.get(key) is not None]
        return f"{form.format(min(values))}..{form.format(max(values))}" if values else ""
    return cell


def speed(run, figures):
    wall = [f["wall"] for f in figures if f.get("wall")]
    return f"{run.mib * MIB / 1e6 / statistics.median(wall):.0f}" if wall else ""


def peak(side):
    def cell(_, figures):
        values = [(f[f"peak_{side}"], f[f"anon_{side}"]) for f in figures if f"peak_{side}" in f]
        return f"{max(v[0] for v in values) / MIB:.0f} ({max(v[1] for v in values) / MIB:.0f})" if values else ""
    return cell


OTHERS = ("others", median("others", "{:.1f}"))

TRANSFER = Layout("leecher <- seed", [
    ("wall s", median("wall", "{:.2f}")), ("min..max", spread("wall", "{:.2f}")), ("MB/s", speed),
    ("first s", median("first", "{:.2f}")), ("CPU s", median("cpu", "{:.2f}")), ("seed", median("cpu_seed", "{:.2f}")),
    ("leecher", median("cpu_leecher", "{:.2f}")), ("sent", median("sent", "{:.2f}")), OTHERS,
    ("peak seed MiB", peak("seed")), ("peak leecher MiB", peak("leecher"))],
    "wall: from the start of the downloader to complete, checked and on disk; first: until 2 MiB had flowed; CPU: user and system, "
    "all processes of that side; peak: VmHWM, which counts mapped file pages too, and in brackets the most anonymous memory seen; "
    "sent: IP bytes that left the first seed, in file sizes. Every result was compared with its source.")


class Table:
    def __init__(self):
        self.rows = {}

    def row(self, run):
        self.rows.setdefault((run.case, run.name), (run, []))

    def add(self, run, figures):
        self.rows[run.case, run.name][1].append(figures)

    def layouts(self):
        return list(dict.fromkeys(run.layout for run, _ in self.rows.values()))

    def markdown(self):
        return "\n".join(self.part(layout) for layout in self.layouts())

    def part(self, layout):
        heads = ["case", layout.who, "runs", *[head for head, _ in layout.columns]]
        lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
        for (case, name), (run, all_figures) in self.rows.items():
            if run.layout is not layout:
                continue
            good = [f for f in all_figures if "failed" not in f]
            if not good:
                why = all_figures[0]["failed"].replace("\n", " ").replace("|", "/")[:120] if all_figures else "not run"
                lines.append(f"| {case} | {name} | 0 | {why} |" + " |" * (len(heads) - 4))
                continue
            bad = len(all_figures) - len(good)
            cells = [case, name, f"{len(good)}" + (f" (+{bad} failed)" if bad else ""), *[cell(run, good) for _, cell in layout.columns]]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"
