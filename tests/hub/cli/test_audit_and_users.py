"""`manyarm audit` names the first event that was changed; `manyarm user` lets people in and locks them out."""

import base64
import contextlib
import json
import sqlite3

import pytest

from hub.access.passwords import Passwords

FIRST = "six words that nobody ever guesses"
SECOND = "quite another set of seven words here"


def sql(hub, statement, *values):
    with contextlib.closing(sqlite3.connect(hub.home / "manyarm.db")) as database, database:
        return database.execute(statement, values).fetchall()


def refused(hub, *words, status, given=""):
    done = hub.run("manyarm", *words, given=given)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_an_untouched_chain_is_counted(hub):
    hub.manyarm("user", "add", "pat", given=FIRST + "\n")
    assert hub.manyarm("audit", "verify") == "2 events, every one chained to the one before it\n"


CHANGES = (
    "UPDATE event SET bytes = CAST(bytes || x'20' AS BLOB) WHERE seq = 2",
    "UPDATE event SET bytes = 'a text' WHERE seq = 2",
    "UPDATE event SET actor = 'nobody' WHERE seq = 2",
    "DELETE FROM event WHERE seq = 2",
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_or_missing_event_is_named_by_its_number(hub, change):
    for name in ("pat", "sam", "kim"):
        hub.manyarm("user", "add", name, given=FIRST + "\n")
    sql(hub, change)
    words = refused(hub, "audit", "verify", status=1)
    assert words.startswith("Error: event 2: ")
    assert "(AUDIT_CHAIN)" in words
    found = hub.run("manyarm", "doctor")
    assert found.returncode == 1
    assert "WRONG  audit chain: event 2: " in found.stdout


def test_an_exported_log_is_verified_without_the_hub(hub, bare, tmp_path):
    hub.manyarm("user", "add", "pat", given=FIRST + "\n")
    file = tmp_path / "audit.log"
    assert "2 events written" in hub.manyarm("audit", "export", str(file))
    assert "2 events" in bare.manyarm("audit", "verify", str(file))
    lines = file.read_text().splitlines()
    entry = json.loads(lines[2])
    altered = base64.b64decode(entry["bytes"]).replace(b"pat", b"tap")
    lines[2] = json.dumps(entry | {"bytes": base64.b64encode(altered).decode()})
    file.write_text("\n".join(lines) + "\n")
    assert "event 2: " in refused(bare, "audit", "verify", str(file), status=1)


def test_an_export_never_writes_over_a_file(hub, tmp_path):
    file = tmp_path / "audit.log"
    file.write_text("something else")
    words = refused(hub, "audit", "export", str(file), status=2)
    assert f"{file}: exists already" in words
    assert file.read_text() == "something else"


def test_a_home_without_a_hub_is_told_and_not_made(bare):
    for words in (("audit", "verify"), ("key", "show"), ("user", "disable", "pat"), ("user", "api-key", "pat")):
        assert "manyarm init" in refused(bare, *words, status=4)
    assert not bare.home.exists()


def test_a_user_gets_in_by_the_password_given_and_by_a_new_one_later(hub):
    assert hub.manyarm("user", "add", "pat", given=FIRST + "\n") == "pat is a system-admin\n"
    assert opens(hub, FIRST)
    hub.manyarm("user", "password", "pat", given=SECOND + "\n")
    assert opens(hub, SECOND)
    assert not opens(hub, FIRST)


def test_a_disabled_user_is_locked_out_and_gets_no_key(hub):
    hub.manyarm("user", "add", "pat", given=FIRST + "\n")
    assert hub.manyarm("user", "api-key", "pat").startswith("mak_")
    assert "last active administrator" in refused(hub, "user", "disable", "pat", status=2)
    hub.manyarm("user", "add", "sam", given=SECOND + "\n")
    assert hub.manyarm("user", "disable", "pat") == "pat is locked out\n"
    assert sql(hub, "SELECT name, state FROM user ORDER BY name") == [("pat", "disabled"), ("sam", "active")]
    assert sql(hub, "SELECT count(*) FROM api_key WHERE revoked_at IS NULL") == [(0,)]
    assert "locked out" in refused(hub, "user", "api-key", "pat", status=2)


@pytest.mark.parametrize(
    ("words", "given", "status", "told"),
    [
        (("user", "add", "pat"), FIRST, 2, "there is a user 'pat' already"),
        (("user", "add", "sam"), "short", 2, "12 to 256 characters"),
        (("user", "add", "sam"), "", 2, "password is needed"),
        (("user", "add", "sam", "--role", "emperor"), FIRST, 2, "'emperor'"),
        (("user", "password", "nobody"), FIRST, 4, "no user 'nobody'"),
        (("user", "disable", "nobody"), "", 4, "no user 'nobody'"),
        (("user", "api-key", "nobody"), "", 4, "no user 'nobody'"),
    ],
)
def test_what_cannot_be_done_to_a_user_is_told_and_not_half_done(one_user, words, given, status, told):
    before = sql(one_user, "SELECT * FROM user"), sql(one_user, 'SELECT * FROM "grant"')
    assert told in refused(one_user, *words, status=status, given=given + "\n")
    assert (sql(one_user, "SELECT * FROM user"), sql(one_user, 'SELECT * FROM "grant"')) == before


@pytest.fixture(scope="module")
def one_user(bare, tmp_path_factory):
    made = type(bare)(tmp_path_factory.mktemp("one-user"))
    made.install()
    made.manyarm("user", "add", "pat", given=FIRST + "\n")
    return made


def opens(hub, password):
    return Passwords().verify(sql(hub, "SELECT password_hash FROM user WHERE name = 'pat'")[0][0], password)
