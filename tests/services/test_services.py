"""The servers that the other tests ask for really run."""

import psycopg
import pytest

from tests.services.requires import PARTS, Part, requires


def test_each_asker_gets_a_fresh_database(postgres, postgres_url):
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    other = postgres.create()
    assert other not in postgres_url
    postgres.drop(other)


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_part_skips_on_a_laptop_and_fails_in_ci(monkeypatch, ci, outcome):
    monkeypatch.setitem(PARTS, "unheard-of", Part(lambda: None, "apt-get install unheard-of"))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="apt-get install unheard-of"):
        requires("unheard-of")
