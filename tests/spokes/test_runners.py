"""Which runner releases a spoke installs, which it refuses, and that what it installed is what it starts."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from spokes.agent.home import SpokeHome
from spokes.agent.runners import Runners
from spokes.agent.supervisors import Supervisors
from spokes.agent.this_machine import ThisMachine
from tests.abuse.test_enrolment_spoke import cache_on
from tests.fakes.parties import DAY
from tests.fakes.spoke_world import built_runner
from wire.errors import Code, Refused
from wire.keys import SigningKey, new_id
from wire.trust import RunnerFloor

PYTHON = "python3"


@pytest.fixture
def machine(tmp_path):
    home = SpokeHome(tmp_path / "spoke")
    home.make()
    return ThisMachine(home, Supervisors(home, PYTHON, standby=False))


@pytest.fixture
def runners(machine, gateway):
    return runners_on(machine, gateway)


def runners_on(machine, gateway, python: str = PYTHON) -> Runners:
    return Runners(machine, cache_on(machine, gateway), record=Path(machine.home) / "runners.json", python=python)


def archive(folder: Path, words: str) -> Path:
    """Another runner: other bytes, another digest."""
    path = folder / f"runner-{hashlib.sha256(words.encode()).hexdigest()[:8]}.pyz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("__main__.py", f"print({words!r})\n")
        file.writestr("runner/__init__.py", "")
    return path


def ensure(runners, gateway, ref):
    return runners.ensure(ref, gateway.hub.chain, gateway.hub.now, gateway.capability(new_id(), ref))


def refused(runners, gateway, ref) -> Code:
    with pytest.raises(Refused) as caught:
        ensure(runners, gateway, ref)
    return caught.value.code


def folders(machine) -> set[str]:
    return {path.name for path in (Path(machine.home) / "runners").iterdir()}


def test_a_release_is_unpacked_compiled_and_closed_to_writers(machine, runners, gateway):
    sha256 = ensure(runners, gateway, gateway.add_runner(built_runner()))
    folder = Path(machine.home) / "runners" / sha256
    assert (folder / "__main__.py").is_file()
    assert list(folder.rglob("*.pyc"))
    assert all(path.stat().st_mode & 0o222 == 0 for path in [folder, *folder.rglob("*")])


def test_an_installed_release_is_not_fetched_again_by_this_daemon_or_the_next(machine, runners, gateway):
    ref = gateway.add_runner(built_runner())
    ensure(runners, gateway, ref)
    requests = len(gateway.log)
    again = runners_on(machine, gateway)
    again.check_installed()
    ensure(again, gateway, ref)
    assert len(gateway.log) == requests


def test_an_altered_installation_is_noticed_at_the_start_and_installed_anew(machine, runners, gateway):
    ref = gateway.add_runner(built_runner())
    folder = Path(machine.home) / "runners" / ensure(runners, gateway, ref)
    (folder / "__main__.py").chmod(0o644)
    (folder / "__main__.py").write_text("import os\n")
    again = runners_on(machine, gateway)
    again.check_installed()
    assert folders(machine) == set()
    ensure(again, gateway, ref)
    assert (folder / "__main__.py").read_text() != "import os\n"


def test_t105_a_release_signed_by_another_key_is_refused(machine, runners, gateway, hub):
    for signer in (SigningKey.generate(), hub.command, hub.root):
        assert refused(runners, gateway, gateway.add_runner(built_runner(), signer=signer)) is Code.RUN_SIG
    assert refused(runners, gateway, gateway.add_runner(built_runner(), name="other-product")) is Code.RUN_SIG
    assert folders(machine) == set()


def test_t106_an_older_release_and_an_equal_one_with_other_bytes_are_refused(machine, runners, gateway, tmp_path):
    ensure(runners, gateway, gateway.add_runner(archive(tmp_path, "five"), release=5))
    assert refused(runners, gateway, gateway.add_runner(archive(tmp_path, "four"), release=4)) is Code.RUN_ROLLBACK
    assert refused(runners, gateway, gateway.add_runner(archive(tmp_path, "other"), release=5)) is Code.RUN_ROLLBACK
    again = runners_on(machine, gateway)
    assert refused(again, gateway, gateway.add_runner(archive(tmp_path, "three"), release=3)) is Code.RUN_ROLLBACK
    assert len(folders(machine)) == 1


def test_t106_a_release_below_the_trust_documents_floor_is_refused_though_installed(runners, gateway, tmp_path, hub):
    ref = gateway.add_runner(archive(tmp_path, "one"), release=1)
    ensure(runners, gateway, ref)
    hub.publish(runner=RunnerFloor(2))
    assert refused(runners, gateway, ref) is Code.RUN_ROLLBACK
    assert refused(runners, gateway, gateway.add_runner(archive(tmp_path, "new"), release=1)) is Code.RUN_ROLLBACK


def test_t107_an_expired_release_is_not_installed_and_an_installed_one_goes_on(runners, gateway, tmp_path, hub):
    ref = gateway.add_runner(archive(tmp_path, "one"), release=1)
    ensure(runners, gateway, ref)
    hub.now += 200 * DAY
    newer = gateway.add_runner(archive(tmp_path, "two"), release=2, expires=hub.now - 1)
    assert refused(runners, gateway, newer) is Code.RUN_EXPIRED
    assert ensure(runners, gateway, ref) == ref.sha256


@pytest.mark.parametrize("changes", [{"min_python": "3.99"}, {"platforms": ("win32",)}])
def test_t111_a_release_for_another_platform_is_refused_and_the_old_one_kept(runners, gateway, tmp_path, changes):
    old = gateway.add_runner(archive(tmp_path, "one"), release=1)
    ensure(runners, gateway, old)
    new = gateway.add_runner(archive(tmp_path, "two"), release=2, **changes)
    assert refused(runners, gateway, new) is Code.RUN_PLATFORM
    assert ensure(runners, gateway, old) == old.sha256


def test_t111_an_interpreter_that_does_not_run_is_said(machine, gateway):
    runners = runners_on(machine, gateway, python="/nowhere/python3")
    assert refused(runners, gateway, gateway.add_runner(built_runner())) is Code.RUN_PLATFORM


def test_a_document_of_other_bytes_is_refused(runners, gateway, tmp_path):
    ref = gateway.add_runner(archive(tmp_path, "one"), sha256="0" * 64)
    assert refused(runners, gateway, ref) is Code.RUN_HASH


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil.py", "a/../../evil.py", "a\\b.py"])
def test_a_file_outside_of_the_runners_folder_is_refused(machine, runners, gateway, tmp_path, name):
    path = tmp_path / "evil.pyz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, "")
    assert refused(runners, gateway, gateway.add_runner(path)) is Code.RUN_HASH
    assert not list(Path(machine.home).parent.rglob("evil.py"))


def test_old_releases_go_unless_a_run_may_still_need_them(machine, runners, gateway, tmp_path):
    shas = [
        ensure(runners, gateway, gateway.add_runner(archive(tmp_path, f"number {number}"), release=number))
        for number in range(1, 6)
    ]
    runners.prune({shas[0]})
    assert folders(machine) == {shas[0], *shas[2:]}
