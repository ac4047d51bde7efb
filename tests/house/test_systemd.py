"""The shipped units start commands that exist, set what can be set, keep their promises, and give each directive's reason."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config.settings import HubSettings, SpokeSettings
from hub.cli.__main__ import COMMANDS
from spokes.__main__ import _parser

FOLDER = Path(__file__).resolve().parents[2] / "config" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
PARTS = ("manyarm-hub", "manyarm-portal", "manyarm-gateway")


def read(unit):
    """The directives of [Service], in order, with all values of each."""
    found = {}
    for line in unit.read_text().partition("[Service]")[2].partition("\n[")[0].splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture(params=UNITS, ids=lambda unit: unit.stem)
def unit(request):
    return request.param


def test_every_unit_that_is_meant_is_there():
    assert {unit.stem for unit in UNITS} == {"manyarm", *PARTS, "manyarm-spoke", "manyarm-local"}


def test_it_starts_a_command_that_exists(unit):
    [start] = read(unit)["ExecStart"]
    program, *words = start.split(" ")
    if Path(program).name == "manyarm":
        assert words[0] in COMMANDS
    else:
        assert _parser().parse_args(words)


def test_it_sets_what_can_be_set(unit):
    for assignment in read(unit)["Environment"]:
        name = assignment.partition("=")[0]
        known = SpokeSettings if name.startswith("MANYARM_SPOKE_") else HubSettings
        prefix = "MANYARM_SPOKE_" if known is SpokeSettings else "MANYARM_"
        assert name.removeprefix(prefix).lower() in known.__dataclass_fields__, name


def test_each_group_of_directives_opens_with_its_reason(unit):
    service = unit.read_text().partition("[Service]\n")[2].partition("\n[")[0].strip()
    for group in service.split("\n\n"):
        assert group.startswith("# "), group
    assert len(re.findall(r"^# ", service, re.MULTILINE)) >= 8


def test_the_hub_and_the_spoke_are_two_users():
    users = {unit.stem: read(unit)["User"] for unit in UNITS}
    assert users.pop("manyarm-spoke") == ["manyarm-spoke"]
    assert users.pop("manyarm-local") == ["manyarm-local"]
    assert set(map(tuple, users.values())) == {("manyarm",)}


@pytest.mark.parametrize("name", ["manyarm", "manyarm-hub"])
def test_the_master_key_comes_as_a_credential(name):
    found = read(FOLDER / f"{name}.service")
    assert found["LoadCredential"] == ["master-key:/etc/manyarm/master-key"]
    assert "MANYARM_MASTER_KEY=systemd-credential:master-key" in found["Environment"]


@pytest.mark.parametrize("name", ["portal", "gateway"])
def test_a_part_gets_its_own_key_and_sees_no_other(name):
    found = read(FOLDER / f"manyarm-{name}.service")
    assert found["LoadCredential"] == [f"{name}-key:/etc/manyarm/{name}-key"]
    assert "MASTER_KEY" not in (FOLDER / f"manyarm-{name}.service").read_text()
    # With a view of the files of its own, a service sees its own credentials alone.
    assert found["ProtectSystem"] == ["strict"]


@pytest.mark.parametrize("name", ["manyarm-spoke", "manyarm-local"])
def test_a_restart_of_a_spoke_that_runs_jobs_leaves_its_runs_alone(name):
    assert read(FOLDER / f"{name}.service")["KillMode"] == ["process"]


def test_what_runs_scripts_on_the_hub_is_not_started_by_the_hubs_own_user():
    """And sees neither the hub's home nor its keys."""
    assert "MANYARM_HOUSE_SPOKES=relay,ssh" in read(FOLDER / "manyarm.service")["Environment"]
    assert read(FOLDER / "manyarm-local.service")["InaccessiblePaths"] == ["-/var/lib/manyarm -/etc/manyarm"]


def test_systemd_itself_knows_every_directive(tmp_path):
    if shutil.which("systemd-analyze") is None:
        return  # A machine without systemd has nobody to ask; the checks above hold there, too.
    for unit in UNITS:
        text = re.sub(r"^(ExecStart=)\S+", r"\1/bin/true", unit.read_text(), flags=re.MULTILINE)
        text = re.sub(r"^(User|Group)=.*", r"\1=root", text, flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))], capture_output=True, text=True
    )
    mine = [line for line in done.stderr.splitlines() if "manyarm" in line]
    assert mine == []
