"""Each crash point stands once in the code and is tried by a test; whoever is not told to end there does not notice it."""

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.points import rows
from wire.crash import VARIABLE

ROOMS = ("wire", "hub", "spokes", "runner", "portal", "config")
ITSELF = {Path("wire/crash.py"), Path("runner/crash.py")}
# Whoever passes three points, of its own room's kind, and says what it has passed.
PASSING = """
from {room}.crash import crash_point
for name in ("first", "second", "first"):
    crash_point(name)
    print(name, flush=True)
"""


def points_in_the_code() -> list[str]:
    """Every name that a point is called by; a point must be written as one call with one name."""
    found = []
    for room in ROOMS:
        for path in set(Path(room).rglob("*.py")) - ITSELF:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "crash_point":
                    (name,) = node.args
                    assert isinstance(name, ast.Constant), f"{path}:{node.lineno}"
                    assert isinstance(name.value, str), f"{path}:{node.lineno}"
                    found.append(name.value)
    return found


def test_each_point_stands_once_in_the_code_and_has_its_row():
    found = points_in_the_code()
    assert [name for name, count in Counter(found).items() if count > 1] == []
    assert set(found) == {row.name for row in rows()}


def test_each_row_is_tried_by_a_test():
    text = "".join(path.read_text() for path in Path("tests").rglob("test_*.py") if path.name != Path(__file__).name)
    assert [row.process for row in rows() if f'trials("{row.process}")' not in text] == []


def passed(room: str, said: str | None) -> tuple[int, list[str]]:
    environ = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", PASSING.format(room=room)],
        env=environ if said is None else environ | {VARIABLE: said},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize("room", ["wire", "runner"])
def test_a_process_ends_at_the_point_that_it_was_told_and_at_no_other(room, tmp_path):
    for said in (None, "", "third", "first:3"):
        assert passed(room, said) == (0, ["first", "second", "first"])
    assert passed(room, "second") == (-signal.SIGKILL, ["first"])
    assert passed(room, "first:2") == (-signal.SIGKILL, ["first", "second"])


@pytest.mark.parametrize("room", ["wire", "runner"])
def test_an_order_in_a_file_ends_one_process(room, tmp_path):
    order = tmp_path / "order"
    order.write_text("first:2\n")
    assert passed(room, f"@{order}") == (-signal.SIGKILL, ["first", "second"])
    assert not order.exists()
    assert passed(room, f"@{order}") == (0, ["first", "second", "first"])


@pytest.mark.parametrize("room", ["wire", "runner"])
def test_unset_a_point_is_a_call_of_a_function_that_does_nothing(room):
    said = f"import dis; from {room}.crash import crash_point as f; print(*[i.opname for i in dis.get_instructions(f)])"
    environ = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run([sys.executable, "-c", said], env=environ, capture_output=True, text=True, check=True)
    # Nothing is called and nothing is read.
    assert set(done.stdout.split()) <= {"RESUME", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
