"""Configuration file formats, case by case, by the built archive under every interpreter that this machine has."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CASES = [
    {"table": path.stem, **case}
    for path in sorted(Path(__file__).parent.glob("cases/formats/*.toml"))
    for case in tomllib.loads(path.read_text())["case"]
]
PYTHONS = sorted({*Path.home().glob(".pyenv/versions/3.*/bin/python3"), Path(sys.executable)})
PYTHONS = [path for path in PYTHONS if not path.parents[1].name.startswith(("3.6.", "3.7.", "3.8."))]
# Reads cases as JSON and prints, for each, the text and the names used, or the line and sentence that refused it.
ACT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from runner.errors import FileMalformed, StepFailed
from runner.formats import format_of
from runner.xml_transform import TransformFailed, transform

def act(case):
    try:
        if "by" in case:
            return transform(case["text"], case["by"])
        return format_of(case["file"], case["text"]).replace(case["text"], case.get("values", {}))
    except (FileMalformed, TransformFailed) as error:
        return [f"{error.line}: {error}"]
    except StepFailed as error:
        return [str(error)]

print(json.dumps([act(case) for case in json.load(sys.stdin)]))
"""


def replaced(python, archive, cases):
    ended = subprocess.run(
        [str(python), "-I", "-S", "-B", "-c", ACT, str(archive)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def answers(built):
    """What each interpreter made of every case."""
    return {python: replaced(python, built.path, CASES) for python in PYTHONS}


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: f"{CASES[n]['table']}-{CASES[n]['name']}")
def test_a_file_is_changed_or_refused_as_the_table_says(answers, number):
    case = CASES[number]
    for python, found in answers.items():
        answer = found[number]
        if "error" in case:
            assert answer == [case["error"]], python
        else:
            assert answer[0] == case.get("expect", case["text"]), python
            assert case["table"] == "transform" or sorted(answer[1]) == sorted(
                case.get("used", case.get("values", {}))
            ), python


def test_every_format_has_a_table():
    modules = {path.stem.removesuffix("_file") for path in Path("runner/formats").glob("*_file.py")}
    assert {case["table"] for case in CASES} == modules | {"names", "transform"}


def test_no_small_file_makes_much_work(built):
    """Each ends by itself, refused or not, long before the time that `replaced` allows."""
    xdt = 'xmlns:xdt="http://schemas.microsoft.com/XML-Document-Transform"'
    deep = [{"file": name, "text": sign * 20_000} for name in ("a.json", "a.yaml", "a.toml", "a.xml") for sign in "[{"]
    paths = {"//*[//*[//*]]": "1"}
    found = replaced(
        sys.executable,
        built.path,
        [
            *deep,
            {"file": "a.xml", "text": "<b>" * 200 + "</b>" * 200, "values": paths},
            {"file": "a.xml", "text": "<a>" * 300 + "</a>" * 300},
            {"file": "a.yaml", "text": "x" * (2 * 1024**2 + 1)},
            {
                "text": f"<a>{'<b/>' * 9}<!--{'x' * 2**20}--></a>",
                "by": f"<a {xdt}>" + '<b xdt:Transform="Insert"/>' * 50 + "</a>",
            },
        ],
    )
    assert all("not well-formed" in answer[0] for answer in found[:8])
    assert found[8:] == [
        ["the XPath //*[//*[//*]] looks at over 2000000 nodes"],
        ["1: not well-formed XML: nested deeper than 256"],
        ["0: the file has over 2097152 characters, too many for YAML"],
        ["1: too many changes to so large a file"],
    ]
