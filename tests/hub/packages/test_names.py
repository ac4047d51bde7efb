"""What a package's file name says; the cases stand in cases/names.toml."""

import tomllib
from pathlib import Path

import pytest

from hub.packages.names import MAX_ID_LENGTH, MAX_NAME_LENGTH, BadName, check_id, parse_filename

CASES = tomllib.loads((Path(__file__).parent / "cases" / "names.toml").read_text())


@pytest.mark.parametrize("case", CASES["read"], ids=lambda case: case["name"])
def test_a_file_name_is_read_as_id_version_and_extension(case):
    file = parse_filename(case["name"])
    assert (file.id, file.version.text, file.extension) == (case["id"], case["version"], case["extension"])


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: ascii(case["name"]))
def test_a_file_name_of_another_form_is_refused_with_a_reason(case):
    with pytest.raises(BadName) as refused:
        parse_filename(case["name"])
    assert case["says"] in str(refused.value)


def test_names_and_ids_of_great_length_are_refused_at_once():
    with pytest.raises(BadName, match=str(MAX_NAME_LENGTH)):
        parse_filename("a." + "1." * 2_500 + "0.zip")
    with pytest.raises(BadName, match=str(MAX_ID_LENGTH)):
        check_id("a" * 5_000)


def test_the_name_of_a_package_file_reads_back_as_itself():
    file = parse_filename("My.App.1.2.3-rc.1.tar.gz")
    assert parse_filename(file.name) == file
