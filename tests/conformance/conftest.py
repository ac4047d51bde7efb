"""The conformance kit: every promise and every feature of a job as one test, over every kind of spoke."""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.conformance.projects import Projects
from tests.conformance.world import KINDS, Conformance
from tests.flow.conftest import archive
from tests.services.requires import requires

_CELL = re.compile(r"tests/conformance/test_\w+\.py::test_(?P<test>\w+)\[(?P<kind>\w+)")
_SIGNS = {"passed": "yes", "failed": "NO", "error": "NO", "skipped": "skipped"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", KINDS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The matrix: tests down, kinds across."""
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


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conformance]:
    """One hub with a target of each kind, for all tests of a session."""
    requires("rabbitmq")
    requires("sshd")
    made = Conformance(tmp_path_factory.mktemp("conformance"))
    try:
        made.install()
        made.start()
        made.fill()
        yield made
    finally:
        made.stop()


@pytest.fixture
def projects(world: Conformance, tmp_path: Path) -> Projects:
    return Projects(world, tmp_path)


@pytest.fixture
def project(projects: Projects) -> Callable[..., str]:
    """Makes a project of scripts and its release 1.0.0."""
    return projects.scripts


@pytest.fixture
def push(world: Conformance, tmp_path: Path) -> Callable[[str, str, Mapping[str, bytes]], None]:
    """Packs files and hands the package in."""

    def pushed(name: str, version: str, files: Mapping[str, bytes]) -> None:
        path = tmp_path / f"{name}.{version}.tar"
        archive(path, files)
        world.manyarm("package", "push", str(path))

    return pushed


@pytest.fixture
def witness(world: Conformance) -> Path:
    """A file that a script of any kind may write, and nobody has written yet."""
    return world.shared / secrets.token_hex(8)
