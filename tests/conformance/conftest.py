"""The conformance kit: every promise and every feature of a job as one test, over every kind of spoke."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.conformance.projects import Projects
from tests.conformance.world import KINDS, Conformance
from tests.flow.conftest import archive
from tests.services.requires import requires


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", KINDS)


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
