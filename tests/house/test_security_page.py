"""docs/security-tests.md lists every abuse case: the ones that exist are tests under their number, the others say why."""

import re
from pathlib import Path

PAGE = Path("docs/security-tests.md")
ROW = re.compile(r"^\| (T\d{3}) \| (.+?) \| (exists|waits) \| (.+?) \|$", re.MULTILINE)


def rows():
    return {number: (state, words) for number, _, state, words in ROW.findall(PAGE.read_text())}


def numbers_in_tests() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in Path("tests").rglob("test_*.py"):
        for number in re.findall(r"def test_t(\d{3})_", path.read_text()):
            found.setdefault(f"T{number}", set()).add(str(path))
    return found


def test_every_case_that_is_said_to_exist_is_a_test_in_the_file_named():
    tests = numbers_in_tests()
    wrong = [
        f"{number}: {words}"
        for number, (state, words) in rows().items()
        if state == "exists" and not any(path in words for path in tests.get(number, ()))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_numbered_test_is_listed():
    missing = set(numbers_in_tests()) - {number for number, (state, _) in rows().items() if state == "exists"}
    assert not missing, sorted(missing)


def test_every_case_that_waits_says_why():
    assert all(len(words) > 15 for state, words in rows().values() if state == "waits")
    assert len(rows()) > 150
