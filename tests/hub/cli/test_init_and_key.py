"""`manyarm init` shows what must be kept, once; `manyarm key` proves it, and hands out no more than a part needs."""

import base64
import contextlib
import json
import re
import subprocess
import urllib.error
import urllib.request

import pytest

from tests.services import warm
from tests.services.whole import BIN, Whole, until

RECOVERY = re.compile(r"^  (mrk1-[a-z2-7-]+)$", re.MULTILINE)
SETUP = re.compile(r"Setup code \(once, 24 h\): ([a-z2-7-]+)")
PHRASE = "a passphrase that nobody ever guesses"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A hub that was installed just now, and what `manyarm init` said."""
    made = Whole(tmp_path_factory.mktemp("fresh"))
    return made, made.manyarm("init")


def test_init_says_where_the_home_is_and_what_comes_next(fresh):
    hub, said = fresh
    assert f"Home              {hub.home}\n" in said
    assert f"Master key        file:{hub.home}.master-key\n" in said
    assert re.search(r"Root thumbprint   SHA256:([a-z2-7]{4}-){12}[a-z2-7]{4}", said)
    assert f"Next: manyarm up, then {hub.url}/setup" in said


def test_the_recovery_string_that_init_shows_opens_the_hub(fresh):
    hub, said = fresh
    recovery = RECOVERY.search(said)[1]
    assert "opens this hub" in hub.manyarm("key", "verify-recovery", given=recovery + "\n")
    assert recovery not in hub.manyarm("key", "show")


def test_a_recovery_string_with_a_typing_error_is_told_from_one_of_another_hub(fresh, tmp_path):
    hub, said = fresh
    recovery = RECOVERY.search(said)[1]
    last = "b" if recovery[5] != "b" else "c"
    mistyped = hub.run("manyarm", "key", "verify-recovery", given=recovery[:5] + last + recovery[6:] + "\n")
    assert (mistyped.returncode, "without typing errors" in mistyped.stderr) == (3, True)
    other = RECOVERY.search(Whole(tmp_path).manyarm("init"))[1]
    stranger = hub.run("manyarm", "key", "verify-recovery", given=other + "\n")
    assert (stranger.returncode, "the data needs" in stranger.stderr) == (3, True)


def test_a_lost_key_file_is_written_anew_from_the_recovery_string(hub):
    key = hub.home.with_name("hub.master-key")
    first = key.read_text()
    said = hub.manyarm("init", status=2)
    assert said == ""
    key.unlink()
    lost = hub.run("manyarm", "key", "show")
    assert (lost.returncode, "write the recovery string into a new key file" in lost.stderr) == (3, True)
    key.write_text(first)
    key.chmod(0o600)
    hub.manyarm("key", "show")


def test_a_second_init_changes_nothing_and_says_how_to_go_on(hub):
    before = {path: path.read_bytes() for path in (hub.home / "manyarm.db", hub.home.with_name("hub.master-key"))}
    again = hub.run("manyarm", "init")
    assert again.returncode == 2
    assert again.stderr.splitlines() == [
        f"Error: a hub is installed in {hub.home} already; nothing was changed. Start it with `manyarm up`; "
        "`manyarm init --new-setup-code` makes another setup code."
    ]
    assert {path: path.read_bytes() for path in before} == before


def test_another_setup_code_is_made_where_the_first_was_lost(fresh):
    hub, said = fresh
    assert SETUP.search(hub.manyarm("init", "--new-setup-code"))[1] != SETUP.search(said)[1]


def test_a_setup_code_for_a_home_without_a_hub_is_refused_without_a_trace(bare):
    refused = bare.run("manyarm", "init", "--new-setup-code")
    assert (refused.returncode, "manyarm init" in refused.stderr) == (4, True)
    assert "Traceback" not in refused.stderr
    assert not bare.home.exists()


def test_every_private_half_stays_private(fresh):
    hub, _ = fresh
    shown = hub.manyarm("key", "show")
    assert {line.split("\t")[0] for line in shown.splitlines()[1:]} >= {"hub-root", "hub-command", "tls-gateway"}
    assert hub.home.with_name("hub.master-key").read_text().strip() not in shown


def test_a_portal_runs_on_the_key_that_was_issued_to_it_alone(hub, tmp_path):
    issued = tmp_path / "portal.key"
    hub.manyarm("key", "issue", "portal", str(issued))
    assert issued.stat().st_mode & 0o777 == 0o600
    assert hub.run("manyarm", "key", "issue", "portal", str(issued)).returncode == 2, "a key is never written over"
    # On the portal's machine there is no master key.
    hub.home.with_name("hub.master-key").rename(tmp_path / "elsewhere")
    with by_hand(hub, "portal", MANYARM_KEK_FILE=str(issued)) as answers:
        assert answers("/healthz") == 200
        assert answers("/login") == 200
    assert '"key.issue"' in events(hub)


def test_a_portal_takes_its_key_as_systemd_hands_it_over(hub, tmp_path):
    hub.manyarm("key", "issue", "portal", str(tmp_path / "portal-key"))
    hub.home.with_name("hub.master-key").unlink()
    # As systemd shows it where the file system has access lists.
    (tmp_path / "portal-key").chmod(0o440)
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path), "MANYARM_KEK_FILE": "systemd-credential:portal-key"}
    with by_hand(hub, "portal", **given) as answers:
        assert answers("/login") == 200


def test_the_key_of_another_part_starts_no_portal(hub, tmp_path):
    issued = tmp_path / "gateway.key"
    hub.manyarm("key", "issue", "gateway", str(issued))
    hub.environ["MANYARM_KEK_FILE"] = str(issued)
    refused = hub.run("manyarm", "portal")
    assert refused.returncode == 3
    assert refused.stderr.splitlines() == [
        f"Error: {issued}: this is the key of a gateway; a portal needs its own: manyarm key issue portal FILE"
    ]


def test_the_root_key_leaves_the_hub_under_a_passphrase(hub, tmp_path):
    file = tmp_path / "root.key"
    assert "the only copy" in hub.manyarm("key", "export-root", str(file), given=PHRASE + "\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "root key" not in hub.manyarm("doctor")
    again = hub.run("manyarm", "key", "export-root", str(tmp_path / "again.key"), given=PHRASE + "\n")
    assert again.returncode != 0
    assert "Traceback" not in again.stderr
    assert not (tmp_path / "again.key").exists()


def events(hub):
    file = hub.folder / "events.log"
    file.unlink(missing_ok=True)
    environ = {"MANYARM_MASTER_KEY": f"file:{hub.folder / 'elsewhere'}"}
    done = warm.run("manyarm", "audit", "export", str(file), env=hub.environ | environ)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return "".join(base64.b64decode(line["bytes"]).decode() for line in lines if "bytes" in line)


@contextlib.contextmanager
def by_hand(hub, part, **environ):
    """A part that nobody supervises; yields a function that asks it for a page's status."""
    with (hub.folder / f"{part}.log").open("wb") as log:
        process = subprocess.Popen([BIN / "manyarm", part], env=hub.environ | environ, stdout=log, stderr=log)

    def answers(path):
        try:
            with urllib.request.urlopen(hub.url + path, timeout=10) as answer:
                return answer.status
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, (hub.folder / f"{part}.log").read_text()
            return 0

    try:
        until(lambda: answers("/healthz"), "the part did not answer")
        yield answers
    finally:
        process.terminate()
        process.wait(20)
