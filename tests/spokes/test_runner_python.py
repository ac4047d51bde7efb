"""A machine that can run no job says so at its enrolment, before anything is sent."""

import subprocess
import sys
from pathlib import Path

import pytest

from spokes import floor
from spokes.__main__ import main
from spokes.agent import runner_python
from spokes.agent.errors import PythonUnfit
from tests.spokes.test_enrolment import approving, code, home  # noqa: F401  fixtures of the same room

OLD = [path for v in ("3.9.18", "3.10.13") if (path := Path.home() / f".pyenv/versions/{v}/bin/python3").exists()]


@pytest.fixture
def python(tmp_path):
    """Makes a program that answers as some Python would."""

    def make(answers: str, status: int = 0) -> str:
        path = tmp_path / "python3"
        path.write_text(f"#!/bin/sh\necho '{answers}'\nexit {status}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.mark.parametrize(
    ("answers", "status", "says"),
    [
        ("3.8.10 linux ", 0, "is Python 3.8.10"),
        ("2.7.18 linux2 ", 0, "is Python 2.7.18"),
        ("3.11.2 linux ctypes,zlib", 0, "lacks ctypes,zlib"),
        ("3.11.2 linux ", 1, "is no Python that runs"),
        ("hello", 0, "is no Python that runs"),
    ],
)
def test_enrolment_ends_in_one_sentence_and_sends_nothing(
    tmp_path, code, gateway, capsys, monkeypatch, python, answers, status, says  # noqa: F811  the fixtures
):  # fmt: skip
    monkeypatch.setenv("MANYARM_SPOKE_RUNNER_PYTHON", python(answers, status))
    assert main(["--home", str(tmp_path / "cli"), "enrol", code.text, "--name", "web-1"]) == 1
    said = capsys.readouterr()
    assert says in said.err
    assert "MANYARM_SPOKE_RUNNER_PYTHON" in said.err
    assert len(said.err.splitlines()) == 1
    assert gateway.log == []
    assert not (tmp_path / "cli").exists()


def test_an_interpreter_that_is_not_there_is_named(tmp_path, code, gateway, capsys, monkeypatch):  # noqa: F811  the fixture
    monkeypatch.setenv("MANYARM_SPOKE_RUNNER_PYTHON", "/nowhere/python3")
    assert main(["--home", str(tmp_path / "cli"), "enrol", code.text, "--name", "web-1"]) == 1
    assert "/nowhere/python3, which is to run jobs here, cannot be started" in capsys.readouterr().err
    assert gateway.log == []


def test_the_hub_is_told_what_runs_jobs_there(tmp_path, code, approving, monkeypatch, python):  # noqa: F811  the fixtures
    path = python("3.9.2 linux ")
    monkeypatch.setenv("MANYARM_SPOKE_RUNNER_PYTHON", path)
    assert main(["--home", str(tmp_path / "cli"), "enrol", code.text, "--name", "web-1", "--wait", "5"]) == 0
    assert approving[0].platform.python == f"3.9.2 ({path})"[:64]


def test_a_spoke_whose_python_went_away_says_so_in_its_hello(python):
    own = runner_python.said_of("")
    assert own == ".".join(map(str, sys.version_info[:3]))
    assert runner_python.said_of("/nowhere/python3").startswith("none: ")
    assert runner_python.said_of(python("3.8.1 linux ")).startswith("none: ")


def test_every_python_of_this_machine_that_the_runner_runs_on_is_fit():
    assert runner_python.runner_python(sys.executable).version.startswith("3.")
    for path in OLD:
        assert (
            runner_python.runner_python(str(path)).shown == f"{runner_python.runner_python(str(path)).version} ({path})"
        )
    with pytest.raises(PythonUnfit):
        runner_python.runner_python("/bin/true")


def test_a_python_that_is_too_old_for_the_spoke_itself_gets_a_sentence(tmp_path, code):  # noqa: F811  the fixture
    assert floor.refusal((3, 8, 10)).startswith("manyarm-spoke: this is Python 3.8, and 3.11 or later is needed")
    assert floor.refusal((3, 11)) == floor.refusal((4, 0)) == ""
    for path in OLD:
        words = [str(path), "-m", "spokes", "--home", str(tmp_path / "cli"), "enrol", code.text, "--name", "web-1"]
        ended = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        assert "nothing was sent" in ended.stderr
        assert not (tmp_path / "cli").exists()
