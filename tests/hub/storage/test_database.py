"""One way to write: whole or not at all, on both databases, from many threads."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hub.errors import AlreadyRunning, Invalid
from hub.storage.database import connection, current_transaction, engine_lock, open_database, sqlite_path, write_tx
from hub.storage.models import Environment, Lifecycle, Outbox, Project, Task


def _write_and_fail(name, *acts):
    with write_tx() as transaction:
        transaction.after_commit.extend(acts)
        Environment.create(name=name)
        _ = 1 // 0


def test_what_fails_inside_leaves_nothing(database):
    with pytest.raises(ZeroDivisionError):
        _write_and_fail("Development")
    assert Environment.select().count() == 0


def test_an_inner_write_that_fails_takes_only_itself_back(database):
    with write_tx():
        Environment.create(name="Development")
        with pytest.raises(ZeroDivisionError):
            _write_and_fail("Production")
    assert [row.name for row in Environment.select()] == ["Development"]


def test_what_waits_for_the_commit_happens_after_it_and_not_after_a_failure(database):
    seen = []
    with write_tx() as transaction:
        transaction.after_commit.append(lambda: seen.append(Environment.select().count()))
        Environment.create(name="Development")
        assert seen == []
    with pytest.raises(ZeroDivisionError):
        _write_and_fail("Production", lambda: seen.append("never"))
    assert seen == [1]


def test_outside_of_a_write_there_is_no_transaction(database):
    with pytest.raises(RuntimeError, match="write_tx"):
        current_transaction()


def test_sixteen_threads_that_read_and_then_write_lose_nothing(database):
    with write_tx():
        row = Environment.create(name="Development")
    failures = []

    def add_ten():
        try:
            for _ in range(10):
                with write_tx():
                    now = Environment.get_by_id(row.id)
                    Environment.update(position=Environment.position + 1).where(Environment.id == now.id).execute()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=add_ten) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Environment.get_by_id(row.id).position == 160


COUNT = """
import sys
from hub.storage.database import open_database, write_tx
from hub.storage.models import Environment
open_database(sys.argv[1])
for _ in range(25):
    with write_tx():
        row = Environment.select().for_update().get() if "postgres" in sys.argv[1] else Environment.get()
        Environment.update(position=row.position + 1).where(Environment.id == row.id).execute()
"""


def test_processes_that_read_and_then_write_lose_nothing(database, database_url):
    with write_tx():
        row = Environment.create(name="Development")
    running = [
        subprocess.Popen([sys.executable, "-c", COUNT, database_url], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    failures = [process.communicate()[1] for process in running]
    assert failures == [""] * 4
    assert Environment.get_by_id(row.id).position == 100


def test_a_thread_that_enters_a_connection_twice_closes_it_once(database):
    def work():
        with connection() as outer:
            with connection():
                Environment.select().count()
            assert not outer.is_closed()
        assert outer.is_closed()
        done.append(True)

    done = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


@pytest.mark.postgres
def test_a_connection_that_died_between_transactions_is_replaced(postgres_url):
    from hub.storage.database import migrate_up

    opened = open_database(postgres_url)
    with connection():
        migrate_up(opened)
        opened.connection().close()
        with write_tx():
            Environment.create(name="Development")
        assert Environment.select().count() == 1
    opened.close_all()


def test_rows_come_back_as_they_went_in(database):
    with write_tx():
        lifecycle = Lifecycle.create(name="L", phases=[{"name": "Try", "environments": ["\ud800 \x00 é"]}])
        project = Project.create(name="P", slug="p", lifecycle=lifecycle)
        task = Task.create(kind="script-run", title="x", project=project)
        sent = Outbox.create(kind="command", body=b"\x00\xff", cid=task.id)
    assert Lifecycle.get_by_id(lifecycle.id).phases == lifecycle.phases
    read = Task.get_by_id(task.id)
    assert (read.project, read.project_id, read.state, read.environment) == (project.id, project.id, "queued", None)
    assert Outbox.get_by_id(sent.id).body == b"\x00\xff"


def test_a_state_that_is_none_of_the_words_never_reaches_the_table(database):
    with pytest.raises(ValueError), write_tx():
        Task.create(kind="script-run", title="x", state="dancing")


def test_a_new_sqlite_file_is_ours_alone(tmp_path):
    old = os.umask(0)
    try:
        opened = open_database(f"sqlite:///{tmp_path / 'a' / 'manyarm.db'}")
        with connection(), write_tx():
            opened.execute_sql("CREATE TABLE t (x)")
            files = sorted((tmp_path / "a").iterdir())
            assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600] * len(files)
            assert len(files) == 3
    finally:
        os.umask(old)


def test_f27_a_second_engine_on_a_sqlite_file_is_refused_and_told_who_the_first_is(tmp_path):
    url = f"sqlite:///{tmp_path / 'manyarm.db'}"
    (tmp_path / "link.db").symlink_to(tmp_path / "manyarm.db")
    with engine_lock(tmp_path / "one", url):
        # Whatever home it is started from, and by whatever name it calls the file.
        for same in (url, f"sqlite:///{tmp_path / 'link.db'}"):
            with pytest.raises(AlreadyRunning) as refused, engine_lock(tmp_path / "two", same):
                pass
            assert f"pid {os.getpid()}" in refused.value.detail
            assert str(tmp_path / "one") in refused.value.detail
            assert "PostgreSQL" in refused.value.detail
    with engine_lock(tmp_path / "two", url):
        pass


def test_f27_on_postgresql_any_number_of_engines_work(tmp_path):
    url = "postgresql://hub@127.0.0.1/manyarm"
    with engine_lock(tmp_path, url), engine_lock(tmp_path, url):
        pass


@pytest.mark.parametrize("url", ["mysql://x", "sqlite://x", "sqlite:x"])
def test_a_url_that_names_no_database_of_ours_is_refused(url):
    with pytest.raises(Invalid):
        sqlite_path(url)


def test_sqlite_urls_are_relative_with_three_slashes_and_absolute_with_four(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sqlite_path("sqlite:///a/b%20c.db") == tmp_path / "a" / "b c.db"
    assert sqlite_path("sqlite:////a/b.db") == Path("/a/b.db")
