"""The page of promises names tests that exist, and numbers that they hold."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "promises.md").read_text(encoding="utf-8")
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")}


def test_every_promise_has_its_test():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    defined = {name for source in SOURCES.values() for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    assert len(named) > 10
    assert named - defined == set()


def test_rounding_is_what_the_tests_allow():
    promised = dict(re.findall(r"^\| (float\d\d) \| (\S+) \|$", PAGE, re.MULTILINE))
    (allowed,) = re.findall(r"^TOLERANCE = \{(.*)\}$", SOURCES["test_sameness.py"], re.MULTILINE)
    assert promised == dict(re.findall(r'"(float\d\d)": ([\de-]+)', allowed))
    single = re.search(r"agrees with its formula in float64 to (\S+) in float32 and (\S+) in float64", PAGE)
    conftest = (TESTS / "conftest.py").read_text(encoding="utf-8")
    assert single.groups() == tuple(re.findall(r"np\.float\d\d\): ([\de-]+)", conftest))
