"""The template language holds whatever it is given: it ends, stays within its limits, and grows with its input."""

import os
import re
import sys

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from runner.contract.errors import TemplateError
from runner.contract.template import expand, references
from runner.filters import filter_names
from runner.filters.call import Refused
from runner.filters.pattern import Pattern

EXAMPLES = int(os.environ.get("MANYARM_FUZZ_EXAMPLES", "300"))
LIMIT = 2000
PIECES = [
    "#{", "#{", "##{", "}", "}", "[", "]", ".", "|", '"', '\\"', "#", "\n", " ", ",", "==", "!=", "*", "(", ")", "{",
    "if ", "unless ", "elseif ", "else", "each ", "x in ", "calc ", "#{if A}", "#{else}", "#{/if}", "#{unless B}",
    "#{/unless}", "#{each x in L}", "#{/each}", "#{x}", "#{x.Key}", "A", "B", "L", "J", "A[b]", "J.k", "1", "0", "-",
    "#{A}", "#{A[#{B}]}", "#{L[*]}", "#{J.k[0]}", "#{Octopus.Template.Each.Index}", "é", "\ud800", "99999999", "a+",
    *(f" | {name} " for name in filter_names()),
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
VARIABLES = st.dictionaries(st.sampled_from(["A", "B", "L", "A[b]", "A[b].c", "J", "x", "A[*]", "L[1]"]), TEXT)
JSON = st.sampled_from(["", "[1,2]", '{"k": [1, {"k": 2}]}', '{"k": "#{A}"}', "[" * 5000, '{"k": ' * 5000, "[1e999]"])
FUZZED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@seed(20261123)
@FUZZED
@given(TEXT, VARIABLES, JSON, st.booleans())
def test_any_text_and_any_variables_end_in_a_text_within_the_limit_or_a_refusal(text, variables, json, strict):
    try:
        result = expand(text, {**variables, "J": json}, strict, source="f", limit=LIMIT, verbatim={"B"})
    except TemplateError as error:
        assert error.line >= 1  # noqa: PT017  any answer is right, but a refusal names its line
    else:
        assert "#{" not in text or len(result) <= LIMIT


@seed(20261124)
@FUZZED
@given(TEXT)
def test_any_text_lists_its_references_or_is_refused(text):
    try:
        assert all(references(text))
    except TemplateError as error:
        assert error.line >= 1  # noqa: PT017  the same


@seed(20261125)
@FUZZED
@given(st.text())
def test_what_a_target_said_comes_out_as_it_went_in(said):
    expanded = expand("<#{Said}|#{Via}|#{each x in One}#{x}#{/each}>", {"Said": said, "Via": "#{Said}", "One[1]": said},
                      verbatim={"Said", "One[1]"})  # fmt: skip
    assert expanded == f"<{said}|{said}|{said}>"


@seed(20261126)
@FUZZED
@given(
    st.lists(
        st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "(", "(?:", ")", "|", "*", "+", "?", "*?", "{1,2}", "^", "$", r"\b", r"\w"]),
        max_size=8,
    ).map("".join),
    st.text("ab\n", max_size=12),
)  # fmt: skip
def test_a_pattern_finds_what_a_backtracking_engine_finds(pattern, text):
    try:
        ours = Pattern(pattern)
    except Refused:
        return
    try:
        theirs = re.compile(pattern).search(text)
    except re.error:
        return
    found = ours.search(text, 0, lambda steps: None)
    assert (found and (found.start, found.end)) == (theirs and theirs.span())


def calls(act):
    """How many functions are called: a measure of work that does not depend on the machine."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += 1

    sys.setprofile(note)
    try:
        act()
    except TemplateError:
        count += 0
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "hostile",
    [
        "#{", "#{A", "#{A[", "#{A[#{", '#{A | Trim "', '#{A | Trim \\"', "#{if A}", "#{if A", "#{each x in A}", "#{calc (",
        "#{calc 1+", "#{/if}", "#{else}", "##", "###{", "#{A | ", "#{A[#{A}", "#{A|Trim}", "#{if A}#{/if}", "#{Nope}",
        "#{\t\t\t\t", "#{A.", "}", "#{A == ", '#{if A == "',
    ],
)  # fmt: skip
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lenient"])
def test_twice_the_text_is_about_twice_the_work(hostile, strict):
    def work(times):
        return calls(lambda: expand("#{A}" + hostile * times, {"A": "a"}, strict))

    work(1)
    assert work(2000) < 2.3 * work(1000) + 5000


HOSTILE = {
    "values that name ten others, and come to nothing": (
        "#{V0}", {f"V{i}": f"#{{if V{i + 1}}}{{}}#{{/if}}" * 10 for i in range(18)},
    ),
    "the same in a loop, where nothing is remembered": (
        "#{each x in L}#{V0}#{/each}", {"L": "a,b", **{f"V{i}": f"#{{V{i + 1}}}" * 10 for i in range(18)}, "V18": ""},
    ),
    "loops in loops": ("#{each a in L}" * 8 + "#{/each}" * 8, {"L": "," * 1000}),
    "a list of a million": ("#{each a in L}x#{/each}", {"L": "," * 1_000_000}),
    "indents of many lines": ("#{A | Indent 255 | Indent 255 | Indent 255}", {"A": "\n" * 1_000_000}),
    "a replacement that grows": ('#{A | Replace a "' + "b" * 10_000 + '"}', {"A": "a" * 1_000_000}),
    "one that grows by a pattern": ('#{A | Replace "[a]" "' + "b" * 10_000 + '"}', {"A": "a" * 100_000}),
    "digests of much, often": ("#{A | Sha512}" * 10_000, {"A": "a" * 10_000_000}),
    "a pattern that is slow to backtrack": ('#{A | Match "^(a+)+$"}', {"A": "a" * 20_000 + "!"}),
    "another": ('#{A | Replace "a*a*a*a*a*b" x}', {"A": "a" * 20_000}),
    "JSON read at each turn": ("#{each x in L}#{J[#{x}]}#{/each}", {"L": "a,b" * 10_000, "J": "[" + "1," * 400_000 + "1]"}),
    "JSON without end": ("#{J.a.b}", {"J": '{"a":' * 150_000}),
    "a number of a million digits": ("#{J.a}", {"J": '{"a":' + "9" * 1_000_000 + "}"}),
    "near misses of many long names": ("#{" + "ab" * 500 + "}", {"ab" * 480 + str(i): "" for i in range(5000)}),
    "a name of many steps": ("#{" + "a." * 500 + "a}", {"a": "{}", **{"a." * i + "a": "" for i in range(400)}}),
    "a name of many indexes": ("#{a" + "[1]" * 2600 + "}", {"a": "[]"}),
    "numbers that overflow": ("#{calc " + "9" * 300 + "*9" * 2000 + "}", {}),
    "a format that is long": ('#{A | Format "' + "0" * 100_000 + '"}', {"A": "1"}),
    "a date of many digits": ("#{A | Format yyyy}", {"A": "9" * 1_000_000}),
    "a million tags": ("#{A}" * 1_000_000, {"A": "1"}),
    "tags in many values": ("".join(f"#{{V{i}}}" for i in range(20)), {f"V{i}": "#{A}" * 100_000 for i in range(20)}),
    "sixty blocks in one another": ("#{if A}" * 60, {"A": "1"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_take_for_ever_or_all_memory_is_cut_off(name):
    text, variables = HOSTILE[name]
    try:
        result = expand(text, variables, source="f")
    except TemplateError as error:
        assert len(str(error)) < 5000  # noqa: PT017  a refusal is an answer, too
    else:
        assert len(result) < 2 * 1024 * 1024
