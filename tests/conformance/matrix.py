"""Prints the conformance matrix at the end of a session: tests down, kinds across; a plugin, for workers do not print."""

import re

import pytest

from tests.conformance.world import KINDS

# Crash points are those of one carrier each, most of them under `make chaos`: no row over all kinds.
_CELL = re.compile(r"tests/conformance/test_(?!crash_points)\w+\.py::test_(?P<test>\w+)\[(?P<kind>\w+)")
_SIGNS = {"passed": "yes", "failed": "NO", "error": "NO", "skipped": "skipped"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    cells: dict[str, dict[str, str]] = {}
    for outcome, sign in _SIGNS.items():
        for report in terminalreporter.stats.get(outcome, []):
            found = _CELL.search(report.nodeid)
            if found and getattr(report, "when", "call") in {"call", "setup"}:
                cells.setdefault(found["test"], {})[found["kind"]] = sign
    if not cells:
        return
    terminalreporter.section("conformance")
    width = max(map(len, cells)) + 2
    terminalreporter.write_line("".ljust(width) + "".join(kind.ljust(11) for kind in KINDS))
    for test, row in cells.items():
        shown = "".join(row.get(kind, "-").ljust(11) for kind in KINDS)
        terminalreporter.write_line(test.replace("_", " ").ljust(width) + shown)
