"""sql-migrations: each file once, in order, whole or not at all, journalled in the database itself."""

import contextlib
import hashlib
import sqlite3
import time
import zipfile
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.services.mariadb import PASSWORD, has_mariadb

JOURNAL = "SELECT name, state, sha256, release_version FROM manyarm_migrations ORDER BY name"
FILES = {
    "1_people.sql": "CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL);\n",
    "2_ada.sql": "-- Ada; first of all\nINSERT INTO people VALUES (1, 'Ada; or ''the first''');",
    "10_more.sql": "INSERT INTO people VALUES (10, 'Grace');\nUPDATE people SET name = 'Ada' WHERE id = 1;\n",
}


class SqliteDatabase:
    engine = "sqlite"

    def __init__(self, folder):
        self.path = folder / "app's db.sqlite"
        self.properties = {"engine": "sqlite", "database": str(self.path)}
        self.secrets = {}

    def query(self, statement):
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(statement).fetchall()


class PostgresDatabase:
    engine = "postgresql"

    def __init__(self, url):
        self.url, parts = url, urlsplit(url)
        self.properties = {
            "engine": "postgresql", "host": parts.hostname, "port": str(parts.port), "user": parts.username,
            "password": "#{DbPassword}", "database": parts.path[1:],
        }  # fmt: skip
        self.secrets = {"DbPassword": parts.password}

    def query(self, statement):
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


class MysqlDatabase:
    engine = "mysql"

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.properties = {
            "engine": "mysql", "host": str(server.socket), "user": "deployer", "password": "#{DbPassword}", "database": name,
        }  # fmt: skip
        self.secrets = {"DbPassword": PASSWORD}

    def query(self, statement):
        rows = self.server.query(statement, self.name)
        return [tuple(int(value) if value.lstrip("-").isdigit() else value for value in row) for row in rows]


@pytest.fixture
def rig(rig_in_turn):
    return rig_in_turn


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres), *(["mysql"] if has_mariadb() else [])]
)
def database(request, tmp_path):
    if request.param == "sqlite":
        return SqliteDatabase(tmp_path)
    if request.param == "postgresql":
        return PostgresDatabase(request.getfixturevalue("postgres_url"))
    return MysqlDatabase(request.getfixturevalue("mariadb"), request.getfixturevalue("mariadb_database"))


@pytest.fixture
def migrate(rig, database, tmp_path):
    return migrating(rig, database, tmp_path)


def migrating(rig, database, tmp_path):
    def start(files, properties=None, secrets=None, **more):
        path = tmp_path / f"package{rig.count}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        reference = {
            "id": "shop", "version": "1.0.0", "extension": "zip", "manifest_id": "5" * 32,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }  # fmt: skip
        limits = more.pop("limits", None)
        given = {**database.properties, **(properties or {})}
        job = rig.job("sql-migrations", given, **{"package": reference, **more})
        return rig.start(job, {**database.secrets, **(secrets or {})}, packages={"5" * 32: str(path)}, limits=limits)

    def run(*arguments, **more):
        run = start(*arguments, **more)
        run.wait()
        return run

    run.start = start
    return run


def succeeded(run):
    assert run.outcome["state"] == "succeeded", run.text()
    return run


def failure(run):
    assert run.outcome["state"] == "failed", run.text()
    return run.outcome["message"]


def test_each_file_runs_once_in_order_and_the_journal_says_so(migrate, database):
    run = succeeded(migrate(FILES))
    assert [line for line in run.text().splitlines() if line.startswith("running")] == [f"running {n}" for n in FILES]
    assert database.query("SELECT id, name FROM people ORDER BY id") == [(1, "Ada"), (10, "Grace")]
    assert database.query(JOURNAL) == sorted(
        (name, "applied", hashlib.sha256(text.encode()).hexdigest(), "1.0.0") for name, text in FILES.items()
    )
    assert {"name": "MigrationsRun", "value": "3", "secret": False} in run.outcome["outputs"]
    again = succeeded(migrate({**FILES, "11_next.sql": "DELETE FROM people WHERE id = 1"}))
    assert "running 11_next.sql" in again.text()
    assert "ran 1 of 4 migrations" in again.text()
    assert "all 4 migrations ran before" in migrate({**FILES, "11_next.sql": "DELETE FROM people WHERE id = 1"}).text()
    assert database.query("SELECT id FROM people") == [(10,)]


def test_sqlite_is_migrated_alike_under_every_python(any_rig, tmp_path):
    database = SqliteDatabase(tmp_path)
    migrate = migrating(any_rig, database, tmp_path)
    succeeded(migrate(FILES))
    assert database.query("SELECT count(*) FROM people") == [(2,)]
    broken = {**FILES, "11.sql": "CREATE TABLE half (x);\nINSERT INTO people VALUES (1, 'again');"}
    assert "at line 2: UNIQUE constraint failed: people.id" in failure(migrate(broken))
    assert database.query("SELECT count(*) FROM sqlite_master WHERE name = 'half'") == [(0,)]
    assert "ends a transaction itself" in failure(migrate({**FILES, "11.sql": "CREATE TABLE half (x);\nCOMMIT;"}))
    assert database.query("SELECT count(*) FROM sqlite_master WHERE name = 'half'") == [(0,)]
    succeeded(migrate({**FILES, "11.sql": "-- manyarm: no transaction\nVACUUM;"}))


def test_a_file_that_fails_leaves_nothing_and_those_after_it_wait(migrate, database):
    first = "DELETE FROM people" if database.engine == "mysql" else "CREATE TABLE half (x integer)"
    files = {
        **FILES,
        "11.sql": f"{first};\n\nINSERT INTO nowhere VALUES (1);\n",
        "12.sql": "SELECT 1;",
    }
    message = failure(migrate(files))
    assert message.startswith("11.sql failed, and nothing of it is left in the database: ")
    assert "nowhere" in message
    assert [row[0] for row in database.query(JOURNAL)] == sorted(FILES)
    files["11.sql"] = "CREATE TABLE half (x integer);"
    assert "ran 2 of 5" in succeeded(migrate(files)).text()


def test_the_place_of_a_fault_is_named(migrate, database):
    message = failure(migrate({**FILES, "sub folder/11.sql": "SELECT 1;\nSELECT 2;\nSELEKT 3;\n"}))
    assert "SELEKT" in message
    place = {"postgresql": "sub folder/11.sql:3", "mysql": "at line 3: You", "sqlite": "at line 2 or after it"}
    assert place[database.engine] in message


def test_a_killed_deployment_leaves_nothing_of_the_file_that_ran(migrate, database):
    endless = {
        "postgresql": "SELECT pg_sleep(600);",
        "mysql": "SELECT sleep(600);",
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n;",
    }[database.engine]
    first = "DELETE FROM people" if database.engine == "mysql" else "CREATE TABLE half (x integer)"
    run = migrate.start({**FILES, "11.sql": f"{first};\n{endless}"}, grace_s=600)
    run.until("running 11.sql")
    time.sleep(0.5)
    (run.folder / "cancel").write_text("{}")
    assert run.wait(30)["state"] == "cancelled", "nobody waits for the grace to end"
    assert [row[0] for row in database.query(JOURNAL)] == sorted(FILES)
    succeeded(migrate({**FILES, "11.sql": "CREATE TABLE half (x integer);"}))


def test_a_changed_file_is_an_error_with_both_digests_or_a_warning(migrate, database):
    succeeded(migrate(FILES))
    changed = {**FILES, "2_ada.sql": FILES["2_ada.sql"] + " "}
    message = failure(migrate(changed))
    for text in (FILES["2_ada.sql"], changed["2_ada.sql"]):
        assert hashlib.sha256(text.encode()).hexdigest() in message
    assert "it is not run again" in succeeded(migrate(changed, {"changed": "warn"})).text()


def test_a_new_file_with_an_old_place_fails_or_runs_with_a_warning(migrate, database):
    succeeded(migrate(FILES))
    late = {**FILES, "3_late.sql": "INSERT INTO people VALUES (3, 'Joan');"}
    assert "3_late.sql is new, and its place is before 10_more.sql" in failure(migrate(late))
    run = succeeded(migrate(late, {"out_of_order": "run"}))
    assert "3_late.sql runs after 10_more.sql" in run.text()
    assert database.query("SELECT name FROM people WHERE id = 3") == [("Joan",)]


def test_an_earlier_release_leaves_what_a_later_one_did(migrate, database):
    succeeded(migrate(FILES))
    run = succeeded(migrate({"1_people.sql": FILES["1_people.sql"]}))
    assert "the last one 10_more.sql (release 1.0.0): the database is ahead of this release" in run.text()


def test_a_file_outside_of_a_transaction_that_breaks_stops_all_until_somebody_looked(migrate, database):
    alone = "-- manyarm: no transaction\nCREATE TABLE half (x integer);\nINSERT INTO nowhere VALUES (1);\n"
    message = failure(migrate({**FILES, "11.sql": alone}))
    assert message.startswith("11.sql failed: ")
    for run in (None, migrate({**FILES, "11.sql": alone, "12.sql": "SELECT 1;"})):
        told = message if run is None else failure(run)
        assert "did not come to its end: a part of it may be in the database" in told
    cure = message.partition("say so (")[2].partition(")")[0]
    assert cure.startswith("UPDATE ")
    database.query("SELECT count(*) FROM half")
    if database.engine == "sqlite":
        with contextlib.closing(sqlite3.connect(database.path)) as connection, connection:
            connection.execute(cure)
    else:
        database.query(cure)
    assert "ran 1 of 5" in succeeded(migrate({**FILES, "11.sql": alone, "12.sql": "SELECT 1;"})).text()


def test_what_takes_no_transaction_runs_alone(migrate, database):
    alone = {"1.sql": "CREATE TABLE t (x integer);", "2.sql": "-- manyarm: no transaction\nVACUUM;\n"}
    if database.engine == "mysql":
        alone["2.sql"] = alone["2.sql"].replace("VACUUM", "OPTIMIZE TABLE t")
    if database.engine == "postgresql":
        alone["3.sql"] = "-- manyarm: no transaction\nCREATE INDEX CONCURRENTLY i ON t (x);\n"
    succeeded(migrate(alone))
    assert {row[1] for row in database.query(JOURNAL)} == {"applied"}


def test_values_are_filled_in_on_request_and_the_digest_is_of_the_file(migrate, database, tmp_path):
    text = "CREATE TABLE t (x text);\nINSERT INTO t VALUES ('#{Who}');"
    succeeded(migrate({"1.sql": text}, {"substitute": True}, variables={"Who": "world"}))
    assert database.query("SELECT x FROM t") == [("world",)]
    assert database.query(JOURNAL)[0][2] == hashlib.sha256(text.encode()).hexdigest()
    assert (
        "all 1 migrations ran before" in migrate({"1.sql": text}, {"substitute": True}, variables={"Who": "x"}).text()
    )
    assert "2.sql:1" in failure(
        migrate({"1.sql": text, "2.sql": "#{Nobody}"}, {"substitute": True}, variables={"Who": ""})
    )
    succeeded(migrate({"1.sql": text, "2.sql": "INSERT INTO t VALUES ('#{Who}');"}))
    assert database.query("SELECT x FROM t ORDER BY x") == [("#{Who}",), ("world",)]


def test_secrets_that_were_filled_in_are_masked_and_no_file_of_them_stays(migrate, database):
    text = "CREATE TABLE t (x text);\nINSERT INTO t VALUES ('#{Key}', 1);"
    run = migrate({"1.sql": text}, {"substitute": True}, secrets={"Key": "k3y-of-the-app"})
    assert "k3y-of-the-app" not in failure(run) + run.text()
    for path in run.folder.rglob("*"):
        assert path.is_dir() or b"k3y-of-the-app" not in path.read_bytes()
        for secret in database.secrets.values():
            assert path.is_dir() or secret.encode() not in path.read_bytes()


def test_a_folder_of_the_machine_and_a_folder_of_the_package_have_the_same_names(migrate, database, tmp_path):
    succeeded(migrate({f"db/migrations/{name}": text for name, text in FILES.items()}, {"folder": "db/migrations"}))
    for name, text in FILES.items():
        (tmp_path / "deployed").mkdir(exist_ok=True)
        (tmp_path / "deployed" / name).write_text(text)
    run = succeeded(migrate({}, {"folder": "#{Where}"}, package=None, variables={"Where": str(tmp_path / "deployed")}))
    assert "all 3 migrations ran before" in run.text()


def test_two_deployments_at_once_run_each_file_once(migrate, database):
    succeeded(migrate({"0.sql": "CREATE TABLE t (x integer);"}))
    wait = "SELECT pg_sleep(0.3);" if database.engine == "postgresql" else ""
    files = {
        "0.sql": "CREATE TABLE t (x integer);",
        **{f"{n}.sql": f"INSERT INTO t VALUES ({n});{wait}" for n in range(1, 5)},
    }
    runs = [migrate.start(files) for _ in range(3)]
    for run in runs:
        run.wait()
        succeeded(run)
    assert database.query("SELECT x FROM t ORDER BY x") == [(n,) for n in range(1, 5)]


def test_a_preview_lists_what_would_run_and_changes_nothing(migrate, database):
    run = succeeded(migrate(FILES, mode="preview"))
    assert [line for line in run.text().splitlines() if "would run" in line] == [f"would run {name}" for name in FILES]
    if database.engine == "sqlite":
        assert not database.path.exists()
    else:
        assert (
            database.query("SELECT table_name FROM information_schema.tables WHERE table_name = 'manyarm_migrations'")
            == []
        )
    succeeded(migrate(FILES))
    run = succeeded(migrate({**FILES, "11.sql": "-- manyarm: no transaction\nVACUUM"}, mode="preview"))
    assert "would run 11.sql (outside of a transaction)" in run.text()
    assert "no migration is due" in migrate(FILES, mode="preview").text()
    assert "was changed after it ran" in failure(migrate({**FILES, "2_ada.sql": "x"}, mode="preview"))
    assert len(database.query(JOURNAL)) == 3


def test_a_preview_that_waits_for_an_earlier_step_says_so(migrate):
    variables = {"Where": "#{Manyarm.Step[Deploy web].Output.InstallDirectory}/sql"}
    run = succeeded(migrate({}, {"folder": "#{where}"}, package=None, variables=variables, mode="preview"))
    assert "only in a deployment, which gives Manyarm.Step[Deploy web].Output.InstallDirectory" in run.text()


def test_a_switch_runs_nothing_and_says_so(migrate, database):
    run = succeeded(migrate(FILES, mode="switch"))
    assert "migrations never run backwards" in run.text()
    assert "running" not in run.text()


def test_another_journal_is_another_history(migrate, database):
    succeeded(migrate({"1.sql": "CREATE TABLE t (x integer);"}))
    succeeded(migrate({"1.sql": "CREATE TABLE u (x integer);"}, {"journal": "other_history"}))
    assert database.query("SELECT name FROM other_history") == [("1.sql",)]


@pytest.mark.parametrize(
    ("files", "properties", "says"),
    [
        ({"readme.txt": ""}, {}, "no file is named by '**/*.sql'"),
        ({"a'b.sql": ""}, {}, '"a\'b.sql" cannot be a migration: its name holds a quote'),
        ({"1.sql": ""}, {"journal": "x; DROP TABLE y"}, "journal takes a table's name"),
        ({"1.sql": ""}, {"journal": "X"}, "journal takes a table's name"),
        ({"1.sql": ""}, {"folder": "../.."}, "folder takes no '..'"),
        ({"1.sql": ""}, {"folder": "/etc"}, "folder is a directory of the package"),
        ({"1.sql": ""}, {"folder": "none"}, "there is no directory none"),
        ({"1.sql": ""}, {"files": ["/etc/*.sql"]}, "a glob must stay inside the package"),
        ({"1.sql": ""}, {"port": "0"}, "port takes a number from 1 to 65535"),
        ({"1.sql": ""}, {"port": "9" * 5000}, "port takes a number from 1 to 65535"),
        ({"1.sql": ""}, {"package": None}, "without a package, folder must be the absolute path"),
    ],
)
def test_what_cannot_be_meant_is_refused(rig, tmp_path, files, properties, says):
    migrate = migrating(rig, SqliteDatabase(tmp_path), tmp_path)
    more = {"package": properties.pop("package")} if "package" in properties else {}
    assert says in failure(migrate(files, properties, **more))


def test_sqlite_takes_a_file_and_nothing_else(rig, tmp_path):
    migrate = migrating(rig, SqliteDatabase(tmp_path), tmp_path)
    assert "takes no password" in failure(migrate({"1.sql": ""}, {"password": "x"}))
    assert "must be the absolute path" in failure(migrate({"1.sql": ""}, {"database": "app.db"}))
    assert "unable to open database file" in failure(migrate({"1.sql": ""}, {"database": str(tmp_path / "no/app.db")}))
    (tmp_path / "text").write_text("no database at all, and long enough to be looked at as one" * 20)
    assert "file is not a database" in failure(migrate({"1.sql": ""}, {"database": str(tmp_path / "text")}))


def test_sqlite_waits_for_who_writes_and_gives_up_in_time(rig, tmp_path):
    database = SqliteDatabase(tmp_path)
    migrate = migrating(rig, database, tmp_path)
    succeeded(migrate(FILES))
    with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        message = failure(migrate({**FILES, "11.sql": "SELECT 1;"}, {"wait_s": 1}))
    assert "database is locked" in message


@pytest.mark.parametrize("text", ["SELECT 'open;\n", "CREATE TABLE t (x", "/* open", "-- only a comment", "", ";;\n;"])
def test_sqlite_text_that_ends_too_early_or_holds_nothing_is_no_trap(rig, tmp_path, text):
    database = SqliteDatabase(tmp_path)
    run = migrating(rig, database, tmp_path)({"1.sql": text})
    states = [state for _, state, *_ in database.query(JOURNAL)]
    assert states == (["applied"] if run.outcome["state"] == "succeeded" else [])
    assert (run.outcome["state"] == "failed") == text.startswith(("SELECT", "CREATE"))


def test_sqlite_triggers_and_their_semicolons_are_left_whole(rig, tmp_path):
    database = SqliteDatabase(tmp_path)
    text = "CREATE TABLE t (x);\nCREATE TRIGGER r AFTER INSERT ON t WHEN new.x > 0 BEGIN\n  INSERT INTO t VALUES (-1); -- ;\n  DELETE FROM t WHERE x = 5;\nEND;\nINSERT INTO t VALUES (5), (6);"
    succeeded(migrating(rig, database, tmp_path)({"1.sql": text}))
    assert database.query("SELECT x FROM t ORDER BY x") == [(-1,), (-1,), (6,)]


@pytest.fixture
def postgres_database(postgres_url):
    return PostgresDatabase(postgres_url)


def test_psql_that_is_missing_is_named(rig, postgres_database, tmp_path):
    rig.environment["PATH"] = str(tmp_path)
    message = failure(migrating(rig, postgres_database, tmp_path)({"1.sql": ""}))
    assert message.startswith("psql is not installed where this step runs (looked in ")


def test_a_wrong_password_is_told_in_the_servers_words_and_never_shown(rig, postgres_database, tmp_path):
    postgres_database.secrets = {"DbPassword": "wr0ng:pass\\word"}
    run = migrating(rig, postgres_database, tmp_path)({"1.sql": ""})
    assert "password authentication failed" in failure(run)
    assert "wr0ng" not in run.text()


def test_the_password_is_in_no_argument_and_no_environment(rig, postgres_database, tmp_path):
    spy = tmp_path / "bin/psql"
    spy.parent.mkdir()
    spy.write_text('#!/bin/sh\n{ echo "$@"; env; ls -l "$PGPASSFILE"; } >> "$0.seen"\nexec /usr/bin/psql "$@"\n')
    spy.chmod(0o755)
    rig.environment["PATH"] = f"{spy.parent}:/usr/bin:/bin"
    succeeded(migrating(rig, postgres_database, tmp_path)(FILES))
    seen = (tmp_path / "bin/psql.seen").read_text()
    assert "PGPASSFILE" in seen
    assert "-rw------- " in seen
    assert postgres_database.secrets["DbPassword"] not in seen


@pytest.mark.parametrize(
    "text",
    [
        "SELECT pg_catalog.set_config('search_path', '', false);\nCREATE TABLE public.t (x integer);",
        "\\set ON_ERROR_STOP off\nCREATE TABLE t (x integer);",
        "\\q",
        "\\set QUIET off\nCREATE TABLE t (x integer);\nCOPY t FROM STDIN;\n1\n2\n\\.\n",
        "BEGIN;\nCREATE TABLE t (x integer);\nCOMMIT;\n",
        "CREATE ROLE reader_{n};\nSET ROLE reader_{n};",
        "CREATE FUNCTION f() RETURNS void AS $$ BEGIN PERFORM 1; END; $$ LANGUAGE plpgsql;\nSELECT f()",
        "CREATE TABLE t (x integer) -- no end",
        "",
    ],
    ids=["search path", "no stop", "quit", "copy", "own transaction", "role", "dollar quotes", "no end", "empty"],
)
def test_what_files_of_psql_do_to_their_session_does_not_reach_the_journal(rig, postgres_database, tmp_path, text):
    text = text.replace("{n}", postgres_database.properties["database"])
    migrate = migrating(rig, postgres_database, tmp_path)
    succeeded(migrate({"1.sql": text, "2.sql": "SELECT 1;"}))
    assert [row[:2] for row in postgres_database.query(JOURNAL)] == [("1.sql", "applied"), ("2.sql", "applied")]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "\\set ON_ERROR_STOP off\nINSERT INTO nowhere VALUES (1);\nCREATE TABLE t (x integer);",
            "nothing of it is left",
        ),
        ("CREATE TABLE t (x integer);\nROLLBACK;", "nothing of it is left"),
        ("CREATE TABLE t (x integer);\nCOMMIT;\nINSERT INTO nowhere VALUES (1);", "did not come to its end"),
        ("CREATE TABLE t (x integer);\nSELECT pg_terminate_backend(pg_backend_pid());", "nothing of it is left"),
        ("\\i none.sql", "nothing of it is left"),
        ("SELECT 'open", "nothing of it is left"),
        ("DROP TABLE manyarm_migrations;", "nothing of it is left"),
    ],
)
def test_a_file_that_would_slip_by_is_told_with_what_is_left_of_it(rig, postgres_database, tmp_path, text, left):
    assert left in failure(migrating(rig, postgres_database, tmp_path)({"1.sql": text}))


def test_a_lock_of_another_deployment_is_waited_for_and_then_told(rig, postgres_database, tmp_path):
    migrate = migrating(rig, postgres_database, tmp_path)
    run = migrate.start({"1.sql": "SELECT pg_sleep(4);"})
    run.until("running 1.sql")
    other = migrate({"1.sql": "SELECT pg_sleep(4);"}, {"wait_s": 0})
    assert "another deployment runs migrations on" in failure(other)
    third = migrate.start({"1.sql": "SELECT pg_sleep(4);"})
    third.until("waiting for another deployment")
    run.wait()
    third.wait()
    assert "all 1 migrations ran before" in succeeded(third).text()


def test_a_file_that_runs_on_top_of_a_lost_lock_does_not(rig, postgres_database, tmp_path):
    """Whoever ends the session that holds the lock ends the step before its next file."""
    migrate = migrating(rig, postgres_database, tmp_path)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory';"
    message = failure(migrate({"1.sql": kill, "2.sql": "CREATE TABLE t (x integer);"}))
    assert "terminating connection due to administrator command" in message or "lost" in message
    assert [row[0] for row in postgres_database.query("SELECT to_regclass('t')::text")] == [None]


MYSQL_FILES = [
    ("CREATE TABLE t (x integer);\nINSERT INTO t VALUES (1);\nCREATE TABLE u (x integer)", "applied"),
    ("DELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END//", "applied"),
    ("DELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END //\nSELECT 1", "applied"),
    ("-- only a comment", "applied"),
    ("", "applied"),
    ("USE mysql;\nSELECT 1;", "applied"),
    ("SET autocommit = 1;\nCREATE TABLE t (x integer);", "applied"),
    ("CREATE TABLE t (x integer);\nINSERT INTO nowhere VALUES (1);", "started"),
    ("INSERT INTO nowhere VALUES (1);\nCREATE TABLE t (x integer);", None),
    ("SELECT 'open", None),
    ("/* open", None),
    ("CREATE TABLE t (x integer);\n/* open", "started"),
    ("ROLLBACK;", None),
    ("KILL CONNECTION_ID();", None),
]

# No server of it is installed for the tests: nothing is skipped where there is none, these rows are not there.
if has_mariadb():

    @pytest.mark.parametrize(("text", "left"), MYSQL_FILES)
    def test_what_mysql_files_leave_is_what_the_journal_says(rig, tmp_path, mariadb, mariadb_database, text, left):
        database = MysqlDatabase(mariadb, mariadb_database)
        run = migrating(rig, database, tmp_path)({"1.sql": text})
        assert [row[1] for row in database.query(JOURNAL)] == ([left] if left else []), run.text()
        assert (run.outcome["state"] == "succeeded") == (left == "applied")
        if left == "started":
            assert "did not come to its end" in run.outcome["message"]


def test_a_thousand_files_are_read_in_one_go(rig, tmp_path):
    database = SqliteDatabase(tmp_path)
    migrate = migrating(rig, database, tmp_path)
    files = {"0.sql": "CREATE TABLE t (x);", **{f"{n}.sql": f"INSERT INTO t VALUES ({n});" for n in range(1, 1000)}}
    succeeded(migrate(files))
    assert database.query("SELECT count(*), max(x) FROM t") == [(999, 999)]
