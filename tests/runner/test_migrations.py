"""Which migrations are due: order, changes, late ones, half-done ones."""

import random
from pathlib import Path

import pytest

from runner.errors import StepFailed
from runner.migrations import Entry, Migration, Rules, asks_to_run_alone, due, fault_of_name, order_key

STRICT = Rules(is_natural=True, fails_when_changed=True, in_any_order=False)
LOOSE = Rules(is_natural=True, fails_when_changed=False, in_any_order=True)


def file(name, digest="a"):
    return Migration(name, Path(name), digest * 64, is_alone=False)


def row(name, digest="a", state="applied"):
    return Entry(name, digest * 64, state, "1.0.0", "2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "names",
    [
        ["1.sql", "2.sql", "10.sql"],
        ["V1__b.sql", "V1.1__a.sql", "V1_2__a.sql", "V1.10.sql", "V2__c.sql", "V10__d.sql"],
        ["2024-09-01_a.sql", "2024-10-01_a.sql"],
        ["001_a.sql", "2_b.sql", "003_c.sql"],
        ["2024/9/a.sql", "2024/10/a.sql", "2025/1/a.sql"],
        ["a/2.sql", "a-b/1.sql"],
        ["a.sql", "B.sql", "c.sql"],
        ["A.sql", "a.sql"],
        [f"{'9' * 5000}.sql", f"1{'0' * 5000}.sql"],
        ["١.sql", "٢.sql"],
    ],
)
def test_names_are_ordered_naturally_in_whatever_order_they_come(names):
    mixed = names * 2
    random.Random(4).shuffle(mixed)
    assert sorted(set(mixed), key=lambda name: order_key(name, is_natural=True)) == names


def test_lexical_order_goes_letter_by_letter():
    names = ["a.sql", "2.sql", "10.sql", "A.sql"]
    ordered = sorted(names, key=lambda name: order_key(name, is_natural=False))
    assert ordered == ["10.sql", "2.sql", "A.sql", "a.sql"]


def test_what_is_not_in_the_journal_is_due_in_order():
    found = due([file("1"), file("2"), file("3")], [row("1")], STRICT, "journal")
    assert ([migration.name for migration in found.pending], found.warnings) == (["2", "3"], ())
    assert due([file("1")], [row("1")], STRICT, "journal").pending == ()


def test_a_changed_file_is_an_error_with_both_digests_or_a_warning_and_never_due():
    with pytest.raises(StepFailed, match=r"1 was changed after it ran: its SHA-256 is b{64} now, and was a{64} when"):
        due([file("1", "b")], [row("1")], STRICT, "journal")
    found = due([file("1", "b")], [row("1")], LOOSE, "journal")
    assert found.pending == ()
    assert "it is not run again" in found.warnings[0]


def test_a_new_file_with_an_old_place_is_an_error_or_runs_with_a_warning():
    with pytest.raises(StepFailed, match=r"5 is new, and its place is before 10, which ran already"):
        due([file("5"), file("10")], [row("10")], STRICT, "journal")
    found = due([file("5"), file("10")], [row("10")], LOOSE, "journal")
    assert [migration.name for migration in found.pending] == ["5"]
    assert "5 runs after 10" in found.warnings[0]


def test_what_ran_and_is_gone_is_told():
    found = due([file("1")], [row("1"), row("10"), row("2")], STRICT, "journal")
    assert "2 of the journal's migrations are not among these files, the last one 10" in found.warnings[0]


@pytest.mark.parametrize("files", [["1"], []])
def test_nothing_runs_on_top_of_what_is_half_done_and_the_cure_is_named(files):
    with pytest.raises(StepFailed) as refused:
        due([file(name) for name in files], [row("1", state="started")], LOOSE, "public.journal")
    assert "UPDATE public.journal SET state = 'applied' WHERE name = '1'" in str(refused.value)
    assert "DELETE FROM public.journal WHERE name = '1'" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ("-- manyarm: no transaction\nVACUUM;", True),
        ("\ufeff\n/* a\n comment */ -- first\n  --Manyarm:  No Transaction  \nVACUUM;", True),
        ("SELECT 1; -- manyarm: no transaction\n", False),
        ("SELECT 1;\n-- manyarm: no transaction\n", False),
        ("-- manyarm: no transaction please\n", False),
        ("/* never ends\n-- manyarm: no transaction\n", False),
        ("", False),
        ("-" * 100_000, False),
        ("/*" * 30_000, False),
        ("/**/" * 15_000, False),
    ],
)
def test_a_file_says_in_its_first_comments_that_it_runs_alone(text, alone):
    assert asks_to_run_alone(text) is alone


@pytest.mark.parametrize("name", ["a'b.sql", 'a"b.sql', "a\\b.sql", "a\nb.sql", "a`b.sql", "a\x7f", "x" * 256])
def test_names_that_a_client_would_misread_are_refused(name):
    assert fault_of_name(name)


def test_names_in_any_language_are_taken():
    assert not fault_of_name("2024/01 größe – ünïcode 名前.sql")
