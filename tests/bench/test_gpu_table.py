"""The README's GPU section is what the newest record says, and owns up where there is none or it is old."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fastnn.gpucheck import record

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # bench/ is not installed, and `pytest` without `python -m` does not look here
    sys.path.append(str(ROOT))

from bench import gpu_table  # noqa: E402


def note(folder, time, sources, us, goals=()):
    """A record in a file of its own."""
    timing = {"net": "784-256-128-10", "batch": 128, "precision": "float32"}
    made = record.new({"name": f"Card of {time[:4]}"}) | {
        "time": time,
        "sources": sources,
        "timings": [timing | {"us": {name: {"median": value, "runs": [value]} for name, value in us.items()}}],
        "goals": list(goals),
    }
    (folder / f"{time[:4]}.json").write_text(json.dumps(made), encoding="utf-8")


def test_the_readme_is_up_to_date():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == gpu_table.updated(readme, gpu_table.section()), "python -m bench.gpu_table writes it anew"


def test_without_a_record_it_says_so(tmp_path):
    text = gpu_table.section(tmp_path)
    assert text.startswith("No record yet: nothing has been timed on a GPU.")
    assert "python -m fastnn.gpucheck --out bench/records/" in text


def test_the_newest_record_counts_and_losses_are_told(tmp_path):
    goal = {"goal": "microseconds for 784-256-128-10", "wanted": 25, "reached": 31.25, "met": False}
    note(tmp_path, "2031-05-01T10:00:00+00:00", record.sources(), {"torch graph": 45, "fastnn": 30}, [goal])
    note(tmp_path, "2029-05-01T10:00:00+00:00", record.sources(), {"fastnn": 99})
    lines = gpu_table.section(tmp_path).splitlines()
    assert lines[0].startswith("Card of 2031, 2031-05-01: microseconds for a training step")
    assert lines[2] == "| network | batch | precision | fastnn | torch graph | ratio |"
    assert lines[4] == "| 784-256-128-10 | 128 | float32 | 30 | 45 | 1.50 |"
    assert lines[6:] == ["Goals reached: 0 of 1.", "- Missed: microseconds for 784-256-128-10: 31.2, wanted 25."]
    assert "changed" not in "".join(lines)


@pytest.mark.parametrize("change", [{"loss.cu": "another"}, {"more.cu": "new"}])
def test_an_old_record_says_that_it_is_old(tmp_path, change):
    note(tmp_path, "2031-05-01T10:00:00+00:00", record.sources() | change, {"fastnn": 30})
    text = gpu_table.section(tmp_path)
    assert "**The kernels have changed since: these numbers are of their older text.**" in text
    assert "| 784-256-128-10 | 128 | float32 | 30 | - |" in text


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="must have the lines <!-- gpu table -->"):
        gpu_table.updated("# nothing", "text")
