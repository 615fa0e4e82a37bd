"""Writes the README's GPU section from the newest record of `python -m fastnn.gpucheck`; a test holds the two together.

    python -m bench.gpu_table

Where there is no record, or the kernels have changed since, the section says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastnn.gpucheck import record

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "bench" / "records"
BEGIN, END = "<!-- gpu table -->", "<!-- end of gpu table -->"
NONE = """\
No record yet: nothing has been timed on a GPU. On a machine with one,

```sh
python -m fastnn.gpucheck --out bench/records/NAME.json && python -m bench.gpu_table
```

tests the backend there, times it beside PyTorch and JAX, and writes the table that belongs here."""


def section(folder: Path = RECORDS) -> str:
    """The section's text, from the newest record in a folder."""
    newest = record.newest(folder)
    if newest is None:
        return NONE
    told = f"{newest['device']['name']}, {newest['time'][:10]}: microseconds for a training step with Adam, the median "
    lines = [f"{told}of several runs; data on the device, everybody at the same precision.", ""]
    if record.changed(newest):
        lines += ["**The kernels have changed since: these numbers are of their older text.**", ""]
    lines += table(newest["timings"])
    goals = newest["goals"]
    if goals:
        met = sum(bool(goal["met"]) for goal in goals)
        lines += ["", f"Goals reached: {met} of {len(goals)}."]
        lines += [f"- Missed: {g['goal']}: {g['reached']:.3g}, wanted {g['wanted']:g}." for g in goals if not g["met"]]
    return "\n".join(lines)


def table(timings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per network; the last column is the fastest other's time over ours, above 1 where we are faster."""
    names = list(dict.fromkeys(name for row in timings for name in row["us"]))
    names.sort(key=lambda name: not name.startswith("fastnn"))
    lines = [f"| network | batch | precision | {' | '.join(names)} | ratio |"]
    lines.append(f"|---|---:|---|{'---:|' * (len(names) + 1)}")
    for row in timings:
        medians = {name: times["median"] for name, times in row["us"].items()}
        shown = [f"{medians[name]:.3g}" if name in medians else "-" for name in names]
        ours, others = ([t for n, t in medians.items() if n.startswith("fastnn") == mine] for mine in (True, False))
        ratio = f"{min(others) / min(ours):.2f}" if ours and others else "-"
        lines.append(f"| {row['net']} | {row['batch']} | {row['precision']} | {' | '.join(shown)} | {ratio} |")
    return lines


def updated(readme: str, text: str) -> str:
    """The README with this text between its marks; raises ValueError where they are missing."""
    pattern = re.compile(f"({re.escape(BEGIN)}\n).*?(\n{re.escape(END)})", re.DOTALL)
    if not pattern.search(readme):
        raise ValueError(f"README.md must have the lines {BEGIN} and {END}")
    return pattern.sub(lambda match: f"{match[1]}{text}{match[2]}", readme)


def main() -> None:
    """Write the section into the README."""
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text(encoding="utf-8"), section()), encoding="utf-8")


if __name__ == "__main__":
    main()
