"""The template language, case by case, as the built runner has it under every Python of this machine."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from runner.contract.errors import TemplateError, TemplateTooDeep, TemplateTooLarge, UnknownVariable
from runner.contract.spool import Stream
from runner.contract.template import expand, references
from runner.filters import filter_names
from runner.release import MIN_PYTHON

CASES = Path(__file__).parent / "cases"
PYTHONS = [
    Path(sys.executable),
    *(
        python
        for python in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))
        if int(python.parents[1].name.split(".")[1]) >= int(MIN_PYTHON.split(".")[1])
    ),
]
READER = """
import json, sys
from datetime import datetime, timedelta, timezone
sys.path.insert(0, sys.argv[1])
from runner.contract.errors import TemplateError
from runner.contract.template import expand

now = datetime(2030, 5, 22, 9, 5, tzinfo=timezone(timedelta(hours=2)))
answers = []
for case in json.load(sys.stdin):
    told = []
    try:
        text = expand(
            case["text"], case["with"], not case["lenient"], source="f", verbatim=case["verbatim"], warn=told.append,
            clock=lambda: now,
        )
        answers.append({"expect": text, "warning": " ".join(told)})
    except TemplateError as error:
        answers.append({"error": str(error)})
json.dump(answers, sys.stdout)
"""


def table(name):
    page = tomllib.loads((CASES / name).read_text(encoding="utf-8"))
    for case in page["case"]:
        if "filter" in case:
            case["text"] = f"#{{{'v' if 'v' in case else ''} | {case['filter']}}}"
            case["with"] = {"v": case["v"]} if "v" in case else {}
        case.setdefault("with", page.get("variables", {}))
        case.setdefault("verbatim", ["Raw"])
        case.setdefault("lenient", name == "octostache.toml")
        case["file"] = name
        yield case


ALL = [case for name in ("template.toml", "octostache.toml", "filters.toml") for case in table(name)]


@pytest.fixture(scope="module", params=PYTHONS, ids=lambda python: python.parents[1].name)
def answers(request, built):
    """What the archive makes of all cases."""
    done = subprocess.run(
        [request.param, "-I", "-S", "-B", "-c", READER, built.path],
        input=json.dumps(ALL), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(ALL)), ids=lambda n: f"{ALL[n]['file']}-{ALL[n]['text']!a}")
def test_a_text_expands_or_is_refused_as_the_table_says(answers, number):
    case, answer = ALL[number], answers[number]
    if "error" in case:
        assert case["error"] in answer.get("error", answer)
    else:
        assert answer.get("expect", answer) == case.get("ours", case["expect"])
        assert case.get("warning", "") in answer["warning"]


def test_every_filter_has_a_row_that_takes_it_and_most_a_row_that_is_refused():
    def rows(kind):
        calls = [case["filter"] for case in ALL if case["file"] == "filters.toml" and kind in case]
        return {part.split()[0].casefold() for call in calls for part in call.split(" | ")}

    markdown = {"markdown", "markdowntohtml"}
    assert {name.casefold() for name in filter_names()} - rows("expect") == markdown
    assert rows("error") >= markdown


def test_what_differs_from_octostache_differs():
    assert all(case["ours"] != case["expect"] for case in ALL if "differs" in case)


def test_the_nearest_names_and_the_place_are_fields_of_the_error():
    with pytest.raises(UnknownVariable) as refusal:
        expand("\n#{Databse}", {"Database": "", "Host": ""}, source="a.txt")
    assert (refusal.value.source, refusal.value.line, refusal.value.name) == ("a.txt", 2, "Databse")
    assert refusal.value.nearest == ("Database",)


def test_no_refusal_holds_a_piece_of_a_value_or_an_option():
    secret = "(Rosebud-" + "x" * 100
    templates = [
        f"#{{S | {name} {option}}}" for name in filter_names() for option in ("", "#{S}", "Int #{S}", "#{S} #{S}")
    ]
    told = []
    for text in [
        *templates,
        "#{A[#{S}]}",
        "#{A[#{S}] | Trim}",
        "#{calc S + 1}",
        "#{each x in A[#{S}]}#{/each}",
        "#{S.x}",
    ]:
        expand(text, {"S": secret, "A": "1"}, strict=False, source="f", verbatim={"S"}, warn=told.append)
    assert len(told) > 50
    assert not [sentence for sentence in told if "osebud" in sentence or "xx" in sentence]


def test_a_warning_is_told_once_however_often_the_name_stands():
    told = []
    assert expand("#{A} #{A}\n#{A}", {}, strict=False, source="f", warn=told.append) == "#{A} #{A}\n#{A}"
    assert len(told) == 2
    assert told[1].startswith("f:2: no variable is named 'A'")


def test_values_that_double_at_every_level_stop_at_the_limit():
    variables = {f"V{i}": f"#{{V{i + 1}}}#{{V{i + 1}}}" for i in range(19)} | {"V19": "x" * 1000}
    with pytest.raises(TemplateTooLarge):
        expand("#{V0}", variables, limit=100_000)


def test_a_chain_of_references_is_followed_to_its_depth_and_no_deeper():
    variables = {f"V{i}": f"#{{V{i + 1}}}" for i in range(40)} | {"V40": "end"}
    assert expand("#{V25}", variables) == "end"
    with pytest.raises(TemplateTooDeep):
        expand("#{V0}", variables)


def test_references_are_listed_in_order():
    assert references("a #{One} ##{No} #{Two[#{Three}].x}") == ("One", "Three")
    assert references("#{if A | Replace #{B}}#{C}#{elseif D == E}#{/if}#{each x in F}#{x.y}#{G}#{/each}#{calc H+1}") == (
        "A", "B", "C", "D", "E", "F", "G", "H",
    )  # fmt: skip


def test_the_switch_of_the_step_makes_it_a_warning_of_the_log(rig, tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as package:
        package.writestr("a.html", "#{if Greeting}\n#{Greting} #{Greeting | ToUpper}#{/if}")
    properties = {"substitute_in": ["*.html"], "allow_unknown": True, "deploy": "cat a.html"}
    run = rig.deploy(tmp_path / "p.zip", properties, variables={"Greeting": "hello"})
    assert run.outcome["state"] == "succeeded"
    assert run.out == "\n#{Greting} HELLO"
    assert "a.html:2: no variable is named 'Greting'; did you mean Greeting?; it stays" in run.text(Stream.WARNING)


PAGE = Path(__file__).resolve().parents[2] / "docs/templates.md"
EXAMPLES = re.findall(
    r"<!-- with (.*?) -->\n```\n(.*?)\n```\n(?:<!-- gives -->\n```\n(.*?)\n```|<!-- refused: (.*?) -->)",
    PAGE.read_text(encoding="utf-8"),
    re.DOTALL,
)


@pytest.mark.parametrize(("values", "text", "gives", "refused"), EXAMPLES, ids=[text for _, text, *_ in EXAMPLES])
def test_an_example_of_the_page_does_what_the_page_says(values, text, gives, refused):
    variables = {
        name: quoted or plain for name, quoted, plain in re.findall(r'([\w.\[\]]+)=(?:"([^"]*)"|(\S+))', values)
    }
    if refused:
        with pytest.raises(TemplateError) as refusal:
            expand(text, variables)
        assert refused in str(refusal.value)
    else:
        assert expand(text, variables) == gives


def test_the_page_names_every_filter_and_no_example_is_left_out():
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in filter_names() if f"`{name}`" not in page] == []
    assert page.count("<!-- with") == len(EXAMPLES)
