"""The template language, case by case."""

import tomllib
from pathlib import Path

import pytest

from runner.contract.errors import TemplateError, TemplateTooDeep, TemplateTooLarge, UnknownVariable
from runner.contract.template import expand, references

TABLE = tomllib.loads((Path(__file__).parent / "cases/template.toml").read_text())


@pytest.mark.parametrize("case", TABLE["case"], ids=lambda case: ascii(case["text"]))
def test_a_text_expands_or_is_refused_as_the_table_says(case):
    def act():
        return expand(
            case["text"], TABLE["variables"], strict=not case.get("lenient", False), source="f", verbatim={"Raw"}
        )

    if "error" in case:
        with pytest.raises(TemplateError) as refusal:
            act()
        assert case["error"] in str(refusal.value)
    else:
        assert act() == case["expect"]


def test_the_nearest_names_and_the_place_are_fields_of_the_error():
    with pytest.raises(UnknownVariable) as refusal:
        expand("\n#{Databse}", {"Database": "", "Host": ""}, source="a.txt")
    assert (refusal.value.source, refusal.value.line, refusal.value.name) == ("a.txt", 2, "Databse")
    assert refusal.value.nearest == ("Database",)


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
