"""F15: a database that is slow, locked, stopped or killed: whoever asks is told so while it lasts, and nothing is lost.

The trouble lasts until the answer is here, so an answer that waits for the database never comes.
"""

import contextlib
import sqlite3

import psycopg
import pytest

from hub.api import app
from hub.storage.database import connection, sqlite_path
from hub.storage.models import Environment, Event
from tests.chaos.proxy import Trouble, proxied
from tests.fakes.api_hub import running_api
from tests.services.whole import until

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def troubled(postgres, module_postgres_url, tmp_path_factory):
    """An API whose PostgreSQL is behind a door that can be held, and that PostgreSQL's own address."""
    with proxied(postgres.port) as proxy:
        url = module_postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/")
        with running_api(tmp_path_factory.mktemp("hub"), database=url) as api:
            api.post("/environments", {"name": "Before"})
            yield api, proxy, module_postgres_url
            proxy.heal()


@contextlib.contextmanager
def stopped(proxy, _):
    proxy.meet(Trouble(held=True))
    yield
    proxy.heal()


@contextlib.contextmanager
def slow(proxy, _):
    proxy.meet(Trouble(latency_s=0.5))
    yield
    proxy.heal()


@contextlib.contextmanager
def killed(proxy, url):
    proxy.meet(Trouble(refuses=True))
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (name,),
        )
    yield
    proxy.heal()


@contextlib.contextmanager
def locked(_, url):
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE environment, intent, api_key IN ACCESS EXCLUSIVE MODE")
        yield
        other.rollback()


def refused(answer):
    assert answer.status_code == 503, answer.text
    assert answer.json["code"] == "DATABASE_AWAY"
    assert "database does not answer" in answer.json["detail"]
    assert answer.headers["Retry-After"]


def when_it_is_back(ask):
    """What is answered as soon as the trouble is over; whoever asks at once may still meet a connection that is dead."""
    return until(lambda: (answer := ask()).status_code != 503 and answer, "the database did not come back")


@pytest.mark.postgres
@pytest.mark.parametrize("trouble", [stopped, slow, killed, locked])
def test_f15_the_api_says_503_with_the_reason_while_the_database_is_in_trouble_and_loses_nothing(troubled, trouble):
    api, proxy, url = troubled
    name = trouble.__name__.capitalize()
    with trouble(proxy, url):
        refused(api.get("/environments"))
        refused(api.post("/environments", {"name": name}))
        # The second one does not wait for its connection as long as the first.
        refused(api.get("/environments"))
    assert when_it_is_back(lambda: api.get("/environments")).status_code == 200
    made = when_it_is_back(lambda: api.post("/environments", {"name": name}))
    # The first asking may have reached the engine; its answer was lost then, it was not.
    assert made.status_code in {201, 409}, made.text
    with connection():
        assert Environment.select().where(Environment.name == name).count() == 1
        made_of = [
            event for event in Event.select().where(Event.action == "environment.create") if event.outcome == "ok"
        ]
        assert len(made_of) == Environment.select().count()


def test_f15_a_locked_sqlite_file_is_told_too(tmp_path):
    with running_api(tmp_path) as api:
        api.get("/environments")  # Its key is noted as used, once a minute.
        other = sqlite3.connect(sqlite_path(api.installed.settings.database), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        refused(api.post("/environments", {"name": "Locked"}))
        assert api.get("/environments").status_code == 200  # Readers wait for nobody.
        other.execute("ROLLBACK")
        other.close()
        assert api.post("/environments", {"name": "Locked"}).status_code == 201


def test_f15_a_request_waits_less_than_two_seconds():
    assert app._PATIENCE_S < 2
