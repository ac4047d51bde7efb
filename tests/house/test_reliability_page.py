"""docs/reliability.md names every promise and every fault, and each test that it names exists."""

import re
from pathlib import Path

import pytest

PAGE = Path("docs/reliability.md")
ROW = re.compile(r"^\| ([RF]\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def rows() -> dict[str, str]:
    return {number: tests for number, _, tests in ROW.findall(PAGE.read_text())}


def written_tests() -> dict[str, str]:
    """Each test's file by its name."""
    return {
        name: str(path)
        for path in Path("tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize(
    "number", [*(f"R{number}" for number in range(1, 13)), *(f"F{number}" for number in range(1, 33))]
)
def test_each_promise_and_each_fault_names_a_test_that_exists(number):
    named = re.findall(r"`(test_\w+)`", rows()[number])
    assert named
    assert set(named) <= set(written_tests())


def test_what_is_said_to_take_long_is_marked_so_and_nothing_else_is():
    """A test under the mark chaos is run by `make chaos` alone."""
    files = written_tests()
    for tests in rows().values():
        for name in re.findall(r"`(test_f\w+)`", " ".join(re.findall(r"\*chaos\*[^;]*", tests))):
            assert "pytest.mark.chaos" in Path(files[name]).read_text(), name


def test_every_chaos_test_is_listed():
    listed = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    written = {name for name, path in written_tests().items() if re.match(r"test_f\d+_", name) and "chaos" in path}
    assert written <= listed
