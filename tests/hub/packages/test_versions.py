"""The order of versions and what is no version; the cases stand in cases/versions.toml."""

import itertools
import tomllib
from pathlib import Path

import pytest

from hub.packages.versions import MAX_LENGTH, Version, VersionError

CASES = tomllib.loads((Path(__file__).parent / "cases" / "versions.toml").read_text())


@pytest.mark.parametrize("case", CASES["order"], ids=lambda case: case["says"])
def test_versions_come_in_the_order_of_their_table(case):
    groups = [[Version.parse(text) for text in group] for group in case["rising"]]
    for group in groups:
        assert len(set(group)) == 1
    for lower, higher in itertools.combinations(groups, 2):
        for a, b in itertools.product(lower, higher):
            assert a < b
            assert b > a
            assert a != b


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: ascii(case["text"]))
def test_a_text_that_is_no_version_is_refused_with_a_reason(case):
    with pytest.raises(VersionError) as refused:
        Version.parse(case["text"])
    assert case["says"] in str(refused.value)


def test_a_version_keeps_the_text_that_was_written():
    assert str(Version.parse("1.0.0-rc.1+build.5")) == "1.0.0-rc.1+build.5"


def test_only_a_prerelease_is_a_prerelease():
    assert Version.parse("1.0.0-rc.1").is_prerelease
    assert not Version.parse("1.0.0+rc.1").is_prerelease


def test_a_version_of_five_thousand_characters_is_refused_at_once():
    with pytest.raises(VersionError, match=str(MAX_LENGTH)):
        Version.parse("1.0.0-" + "a" * 5_000)


def test_the_sort_key_is_plain_hexadecimal():
    assert set(Version.parse("1.0.0-RC.1").sort_key) <= set("0123456789abcdef")


def test_the_longest_sort_key_fits_its_column():
    longest = max(
        (
            Version.parse(text[:MAX_LENGTH].rstrip(".-"))
            for text in ("1.0.0-" + "1." * 40, "1.0.0-" + "a." * 40, "1.0.0-" + "9" * 80)
        ),
        key=lambda version: len(version.sort_key),
    )
    assert len(longest.sort_key) <= 400
