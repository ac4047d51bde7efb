"""`manyarm doctor` says what is wrong and what to do, in lines, and ends with 1 if anything is."""

import contextlib
import os
import re
import sqlite3

import pytest

from hub.cli.server.doctor import said_by_a_stranger

LINE = re.compile(r"(ok {4}|warn {2}|WRONG ) [^:]+: .+|       .+")


def looked(hub, status):
    said = hub.manyarm("doctor", status=status)
    assert all(LINE.fullmatch(line) for line in said.splitlines()), said
    return said


def test_a_healthy_home_of_which_nothing_runs(hub):
    said = looked(hub, 0)
    assert re.search(r"^ok     master key: [0-9a-f]{8} fits the data \(file\)$", said, re.MULTILINE)
    assert "ok     audit chain: 1 events\n" in said
    assert "warn   parts: nothing runs from this home\n       manyarm up\n" in said
    assert "warn   root key: lies in the hub\n       manyarm key export-root FILE" in said


def test_a_home_without_a_hub_has_one_thing_wrong_with_it_and_is_not_made(bare):
    said = looked(bare, 1)
    assert re.findall(r"^WRONG .*$", said, re.MULTILINE) == [
        f"WRONG  master key: no hub is installed in {bare.home}: run `manyarm init` first"
    ]
    assert not bare.home.exists()


def test_a_wrong_master_key_is_the_one_thing_wrong_and_nothing_is_written(hub):
    hub.home.with_name("hub.master-key").write_text("0" * 64)
    before = (hub.home / "manyarm.db").read_bytes()
    said = looked(hub, 1)
    assert re.findall(r"^WRONG ([^:]+):", said, re.MULTILINE) == [" master key"]
    assert "the data needs" in said
    assert (hub.home / "manyarm.db").read_bytes() == before


def test_a_key_file_that_others_can_read_is_wrong(hub):
    key = hub.home.with_name("hub.master-key")
    key.chmod(0o644)
    assert f"chmod 600 {key}" in looked(hub, 1)


def test_a_row_that_was_changed_behind_our_back_is_wrong(hub):
    with contextlib.closing(sqlite3.connect(hub.home / "manyarm.db")) as database, database:
        database.execute("UPDATE trust_frame SET issued_at = issued_at + 1")
    assert "WRONG  row seals: " in looked(hub, 1)


def test_events_that_no_broker_has_taken_for_long_are_told(hub):
    assert "ok     events for others: all are published\n" in looked(hub, 0)
    with contextlib.closing(sqlite3.connect(hub.home / "manyarm.db")) as database, database:
        database.execute(
            "INSERT INTO integration_event (seq, source, sequence, type, key, body, at) VALUES (9, 's', 1, 't', 'k', '{}', 1)"
        )
    assert "warn   events for others: 1 wait for the broker, the oldest for " in looked(hub, 0)


def test_what_nobody_looks_after_and_what_stays_in_the_outbox_is_told(hub):
    assert "ok     outbox: 0 messages have waited for more than 10 min\n" in looked(hub, 0)
    with contextlib.closing(sqlite3.connect(hub.home / "manyarm.db")) as database, database:
        for statement in (
            "INSERT INTO task (id, kind, title, state, created_at, started_at, waiting_for, failure, log_lines, priority,"
            " concurrency_key, version) VALUES ('t', 'script-run', 'Script on web-01', 'running', 1, 1, '', '', 0, 0, '', 1)",
            "INSERT INTO timer (id, task_id, name, due_at) VALUES ('x', 't', 'task', 1)",
            "INSERT INTO outbox (kind, cid, state, created_at, expires_at, attempts)"
            " VALUES ('order', 'c', 'waiting', 1, 2, 0)",
        ):
            database.execute(statement)
    said = looked(hub, 1)
    assert "WRONG  task Script on web-01: nobody looks after it: the hub's engine should have decided at " in said
    assert "warn   outbox: the order for a spoke is kept here until a spoke is there: never heard of yet" in said


@pytest.mark.parametrize("text", ["portal_bind = 8080\n", "portal_bnd = 'x'\n", "portal_bind = \n"])
def test_a_setting_with_a_typo_is_told_with_its_file_and_line(hub, text):
    (hub.home / "hub.toml").write_text("# mine\n" + text)
    for word in ("doctor", "up", "portal", "gateway", "hub"):
        done = hub.run("manyarm", word)
        assert done.returncode == 2, done.stderr
        assert re.match(rf"Error: {re.escape(str(hub.home))}/hub\.toml:(2:| .*line 2)", done.stderr), done.stderr
        assert "Traceback" not in done.stderr


def test_what_a_script_put_in_place_of_a_status_is_not_followed(tmp_path):
    file = tmp_path / "status.json"
    file.write_text('{"os_user": "manyarm-local"}')
    assert said_by_a_stranger(file) == {"os_user": "manyarm-local"}
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_text('{"a": "' + "x" * 100_000 + '"}')
    (tmp_path / "deep").write_text("[" * 60_000)
    for name in ("link", "pipe", "large", "deep", "absent"):
        assert said_by_a_stranger(tmp_path / name) == {}
