"""systemd-service on a real systemd: written, started, stays; or back to what was there before."""

import hashlib
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from runner.contract.spool import Stream
from tests.runner.step_examples import example
from tests.services.machine import machine
from tests.services.requires import requires

SLEEP = "/bin/sh -c 'echo up; exec sleep 1000'"
DIES = "/bin/sh -c 'echo dying of #{Token}; exit 3'"
QUICK = {"settle_s": 0, "wait_s": 10}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    requires("systemd")
    with machine(tmp_path_factory.mktemp("box")) as found:
        found.boot()
        yield found


@pytest.fixture
def name(request):
    """A unit's name that no other test has."""
    return f"t{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"


@pytest.fixture
def serve(rig, box, name):
    """Runs one systemd-service step to its end, over there."""
    rig.command = box.wrapped(*rig.command)

    def run(secrets=None, mode=None, **properties):
        more = {"mode": mode} if mode else {}
        job = rig.job("systemd-service", {"service": name, **QUICK, **properties}, **more)
        return rig.run(job, secrets)

    return run


def show(box, name):
    words = "ActiveState,SubState,MainPID,UnitFileState,LoadState,NRestarts"
    return dict(line.split("=", 1) for line in box.run("systemctl", "show", name, f"-p{words}").splitlines())


def units(box):
    return box.over / "etc/systemd/system"


def test_a_service_is_written_enabled_and_runs(any_rig, box, name):
    any_rig.command = box.wrapped(*any_rig.command)
    properties = {
        "service": name, "exec": SLEEP, "user": "nobody", "working_directory": "/tmp", "description": "Storefront",
        "environment": ["PORT=8080"], "options": ["LimitNOFILE=1000"], "settle_s": 1,
    }  # fmt: skip
    run = any_rig.run(any_rig.job("systemd-service", properties))
    assert run.outcome["state"] == "succeeded", run.text()
    assert (units(box) / f"{name}.service").read_text() == (
        "[Unit]\nDescription=Storefront\nWants=network-online.target\nAfter=network-online.target\n\n[Service]\n"
        f"Type=exec\nExecStart={SLEEP}\nUser=nobody\nWorkingDirectory=/tmp\n"
        f"EnvironmentFile=/etc/systemd/system/{name}.service.environment\nRestart=on-failure\nLimitNOFILE=1000\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    state = show(box, name)
    assert (state["ActiveState"], state["SubState"], state["UnitFileState"]) == ("active", "running", "enabled")
    assert f"{name}.service is active (running)" in run.text(Stream.INFO)


def test_what_stands_and_runs_already_is_left_alone_where_that_is_wanted(serve, box, name):
    assert serve(exec=SLEEP).outcome["state"] == "succeeded"
    before = show(box, name)
    again = serve(exec=SLEEP, restart="when-changed")
    assert again.outcome["state"] == "succeeded"
    assert show(box, name) == before
    assert "nothing to do" in again.text(Stream.INFO)
    assert serve(exec=SLEEP).outcome["state"] == "succeeded"
    assert show(box, name)["MainPID"] != before["MainPID"]


@pytest.mark.parametrize("change", ["stopped", "another unit", "a newer file", "another environment"])
def test_a_service_that_is_down_or_runs_with_an_older_unit_is_restarted(serve, box, name, change):
    assert serve(exec=SLEEP).outcome["state"] == "succeeded"
    before = show(box, name)
    more = {}
    if change == "stopped":
        box.run("systemctl", "stop", name)
    elif change == "another unit":
        more = {"description": "another"}
    elif change == "another environment":
        more = {"environment": ["A=1"]}
    else:
        # A run that was cut short between writing and restarting.
        (units(box) / f"{name}.service").touch()
    run = serve(exec=SLEEP, restart="when-changed", **more)
    assert run.outcome["state"] == "succeeded", run.text()
    after = show(box, name)
    assert after["ActiveState"] == "active"
    assert after["MainPID"] != before["MainPID"]


def test_reload_reloads_a_unit_that_did_not_change(serve, box, name, tmp_path):
    unit = f"[Service]\nExecStart=/bin/sleep 1000\nExecReload=/bin/touch {tmp_path}/reloaded\n"
    assert serve(unit=unit, enable=False).outcome["state"] == "succeeded"
    pid = show(box, name)["MainPID"]
    assert serve(unit=unit, enable=False, restart="reload").outcome["state"] == "succeeded"
    assert show(box, name)["MainPID"] == pid
    assert (tmp_path / "reloaded").exists()
    assert serve(unit=unit + "Nice=1\n", enable=False, restart="reload").outcome["state"] == "succeeded"
    assert show(box, name)["MainPID"] != pid


FAILURES = {
    "ends at once": ({"exec": DIES}, "exit code 3"),
    "ends and is started anew for ever": (
        {"exec": DIES, "restart_on": "always", "options": ["RestartSec=50ms"]},
        "again and again",
    ),
    "ends a moment later": (
        {"exec": "/bin/sh -c 'sleep 0.7; exit 4'", "restart_on": "no", "settle_s": 5},
        "exit code 4",
    ),
    "never says that it is ready": ({"exec": "/bin/sleep 1000", "type": "notify", "wait_s": 1}, "within 1 seconds"),
    "its program is not there": ({"exec": "/no/such/program"}, "ended with exit code 203"),
    "no directive at all": ({"unit": "[Service]\nExecStart=\n"}, "bad-setting"),
    "its user is not there": ({"exec": SLEEP, "user": "no-such-user"}, "exit code 217"),
}


@pytest.mark.parametrize(("properties", "sentence"), FAILURES.values(), ids=FAILURES)
def test_a_failure_brings_back_the_unit_that_was_there_and_has_it_run(serve, box, name, properties, sentence):
    assert serve(exec=SLEEP, environment=["OLD=1"], description="old").outcome["state"] == "succeeded"
    files = {path.name: path.read_text() for path in units(box).glob(f"{name}*")}
    run = serve({"Token": "s3cret-token"}, **properties)
    assert run.outcome["state"] == "failed"
    assert sentence in run.outcome["message"], run.text()
    assert {path.name: path.read_text() for path in units(box).glob(f"{name}*")} == files
    state = show(box, name)
    assert (state["ActiveState"], state["SubState"], state["UnitFileState"]) == ("active", "running", "enabled")
    assert "is as it was before" in run.text(Stream.INFO)
    assert "s3cret-token" not in run.text()


def test_the_lines_of_the_failure_are_shown_and_masked(serve, name):
    run = serve({"Token": "s3cret-token"}, exec=DIES, restart_on="no")
    assert f"{name}.service | dying of ***" in run.text(Stream.WARNING)
    assert "its last lines in the journal stand above" in run.outcome["message"]


@pytest.mark.parametrize(("properties", "sentence"), FAILURES.values(), ids=FAILURES)
def test_a_first_start_that_fails_leaves_the_machine_as_it_was(serve, box, name, properties, sentence):
    before = sorted(path.relative_to(units(box)) for path in units(box).rglob("*"))
    run = serve({"Token": "s3cret-token"}, environment=["A=1"], **properties)
    assert run.outcome["state"] == "failed"
    assert sentence in run.outcome["message"], run.text()
    left = sorted(path.relative_to(units(box)) for path in units(box).rglob("*"))
    assert [path for path in left if name in str(path)] == []
    assert [path for path in before if path not in left] == []
    assert show(box, name)["LoadState"] == "not-found"
    assert name not in box.run("systemctl", "list-units", "--all", "--failed")


def test_a_unit_that_systemd_cannot_use_never_stops_the_one_that_runs(serve, box, name):
    assert serve(exec=SLEEP).outcome["state"] == "succeeded"
    pid = show(box, name)["MainPID"]
    assert serve(unit="[Service]\nType=simple\n").outcome["state"] == "failed"
    assert show(box, name)["MainPID"] == pid


def test_a_cancel_brings_the_old_unit_back(rig, serve, box, name):
    assert serve(exec=SLEEP, description="old").outcome["state"] == "succeeded"
    text = (units(box) / f"{name}.service").read_text()
    job = rig.job("systemd-service", {"service": name, "exec": SLEEP, "settle_s": 60}, grace_s=20)
    run = rig.start(job)
    run.until("wrote /etc/systemd/system")
    (run.folder / "cancel").write_text('{"reason": "enough"}')
    run.wait()
    assert run.outcome["state"] == "cancelled"
    assert (units(box) / f"{name}.service").read_text() == text
    assert show(box, name)["ActiveState"] == "active"


VALUES = {
    "PLAIN": "x", "EMPTY": "", "SPACES": "  a  b ", "QUOTES": "a\"b'c", "DOLLAR": "$HOME ${x} `id`", "SLASH": "a\\b\\",
    "LINES": "one\ntwo\n", "UNICODE": "grüße 😀", "PERCENT": "100%n", "HASH": "# ; no comment", "JSON": '{"a": "b"}',
}  # fmt: skip


def test_every_value_reaches_the_environment_as_it_is_and_no_other_user(serve, box, name, tmp_path):
    script = f"import os, json; json.dump(dict(os.environ), open('{tmp_path}/environ', 'w'))"
    (tmp_path / "show.py").write_text(script)
    run = serve(
        {f"V.{key}": value for key, value in VALUES.items()},
        exec=f"{shutil.which('python3', path='/usr/bin:/usr/local/bin')} {tmp_path}/show.py",
        type="oneshot",
        environment=[f"{key}=#{{V.{key}}}" for key in VALUES],
    )
    assert run.outcome["state"] == "succeeded", run.text()
    found = json.loads((tmp_path / "environ").read_text())
    assert {key: found[key] for key in VALUES} == VALUES
    private = units(box) / f"{name}.service.environment"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert "Environment=" not in (units(box) / f"{name}.service").read_text()


def test_the_environment_of_a_typed_unit_and_of_one_of_the_machines_own_lies_beside_it(serve, box, name, tmp_path):
    unit = f"[Service]\nExecStart=/bin/sh -c 'echo $WHAT > {tmp_path}/what; exec sleep 1000'\n"
    (box.over / f"lib/systemd/system/{name}.service").write_text(unit)
    for typed in ({}, {"unit": unit}):
        run = serve(environment=["WHAT=seen"], enable=False, settle_s=1, **typed)
        assert run.outcome["state"] == "succeeded", run.text()
        assert (tmp_path / "what").read_text() == "seen\n"
        (tmp_path / "what").unlink()
    assert serve(unit=unit, enable=False).outcome["state"] == "succeeded"
    assert sorted(path.name for path in units(box).glob(f"{name}*")) == [f"{name}.service", f"{name}.service.d"]
    assert list((units(box) / f"{name}.service.d").iterdir()) == []


def test_a_unit_that_the_machine_has_is_restarted_as_it_is(serve, box, name):
    (box.over / f"lib/systemd/system/{name}.service").write_text("[Service]\nExecStart=/bin/sleep 1000\n")
    run = serve()
    assert run.outcome["state"] == "succeeded", run.text()
    assert show(box, name)["ActiveState"] == "active"
    assert list(units(box).glob(f"{name}*")) == []


def test_a_secret_in_a_unit_makes_it_private(serve, box, name):
    assert serve({"Token": "s3cret-token"}, exec=SLEEP, description="#{Token}").outcome["state"] == "succeeded"
    assert stat.S_IMODE((units(box) / f"{name}.service").stat().st_mode) == 0o600
    assert serve(exec=SLEEP, description="plain").outcome["state"] == "succeeded"


def test_an_instance_of_a_template_and_a_timer_are_units_too(serve, box, name, tmp_path):
    unit = f"[Service]\nExecStart=/bin/sh -c 'echo %i > {tmp_path}/instance; exec sleep 1000'\n[Install]\nWantedBy=multi-user.target\n"
    run = serve(service=f"{name}@two", unit=unit, settle_s=1)
    assert run.outcome["state"] == "succeeded", run.text()
    assert (tmp_path / "instance").read_text() == "two\n"
    timer = f"[Timer]\nOnActiveSec=1h\nUnit={name}@two.service\n[Install]\nWantedBy=multi-user.target\n"
    run = serve(service=f"{name}.timer", unit=timer)
    assert run.outcome["state"] == "succeeded", run.text()
    assert "active (waiting)" in run.text(Stream.INFO)


def test_a_unit_out_of_a_package_follows_current_and_a_switch_restarts_it(rig, serve, box, name, tmp_path):
    unit = "[Service]\nExecStart=/bin/sh -c 'cat #{Site}/current/version > #{Site}/seen; exec sleep 1000'\n"
    site = tmp_path / "site"
    for version in ("1.0.0", "2.0.0"):
        package = tmp_path / f"{version}.zip"
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("version", version)
            archive.writestr("web.service", unit)
        assert rig.deploy(package, {"install_to": str(site)}, version=version).outcome["state"] == "succeeded"
        job = rig.job(
            "systemd-service",
            {"service": name, "unit_file": f"{site}/current/web.service", "enable": False, "settle_s": 1},
            variables={"Site": str(site)},
        )
        run = rig.run(job)
        assert run.outcome["state"] == "succeeded", run.text()
        assert (site / "seen").read_text() == version
    (site / "current").unlink()
    (site / "current").symlink_to("releases/1.0.0")
    job["mode"] = "switch"
    job["properties"]["restart"] = "when-changed"
    run = rig.run(job)
    assert run.outcome["state"] == "succeeded", run.text()
    assert (site / "seen").read_text() == "1.0.0"


def test_a_preview_shows_what_would_change_and_changes_nothing(serve, box, name):
    assert serve(exec=SLEEP, environment=["TOKEN=s3cret-token"]).outcome["state"] == "succeeded"
    before = show(box, name), {path.name: path.read_text() for path in units(box).glob(f"{name}*")}
    run = serve(
        {"Token": "other-token"}, mode="preview", exec=SLEEP, options=["Nice=1"], environment=["TOKEN=#{Token}"]
    )
    assert run.outcome["state"] == "succeeded", run.text()
    assert "+Nice=1" in run.out + run.text(Stream.INFO)
    assert '-***\n+TOKEN="***"' in run.text(Stream.INFO)
    assert "s3cret-token" not in run.text(), "a secret of former days, which this job does not know"
    files = {event["path"]: (event["added"], event["removed"]) for event in run.events if event["event"] == "file"}
    assert files[f"/etc/systemd/system/{name}.service"] == (1, 0)
    assert "would be restarted" in run.text(Stream.INFO)
    assert (show(box, name), {path.name: path.read_text() for path in units(box).glob(f"{name}*")}) == before


def test_what_systemd_finds_odd_is_told_before_the_unit_is_written(serve, name):
    run = serve(unit="[Service]\nExecStart=/bin/sleep 1000\nExecStat=/bin/true\n", enable=False)
    assert run.outcome["state"] == "succeeded"
    assert f"systemd-analyze verify: {name}.service:3: Unknown key" in run.text(Stream.WARNING)


REFUSED = {
    "a name with a path in it": ({"service": "../x"}, "property service: expected a unit's name"),
    "a name that is an option": ({"service": "--now"}, "property service: expected a unit's name"),
    "a line end in a command": ({"exec": "/bin/true\nUser=root"}, "property exec: expected one line"),
    "a backslash at the end": ({"exec": "/bin/true \\"}, "property exec: expected one line"),
    "two lines as one option": (
        {"exec": SLEEP, "options": ["Nice=1\nUser=root"]},
        "property options: expected one line",
    ),
    "no option": ({"exec": SLEEP, "options": ["[Install]"]}, "property options: expected lines such as"),
    "two ways at once": ({"exec": SLEEP, "unit": "[Service]"}, "properties exec and unit: expected one of them"),
    "no such file": ({"unit_file": "/no/such.service"}, "there is no file /no/such.service"),
    "a relative file": ({"unit_file": "web.service"}, "expected an absolute path"),
    "no variable": ({"exec": SLEEP, "environment": ["A B=1"]}, "property environment: expected NAME=VALUE"),
    "a relative directory": ({"exec": SLEEP, "unit_directory": "units"}, "expected an absolute path without '..'"),
    "a place that systemd does not read": ({"exec": SLEEP, "unit_directory": "/tmp/elsewhere"}, "does not find"),
    "nothing known of it": ({}, "say what it is with `exec`, `unit` or `unit_file`"),
    "root for a user's service": ({"exec": SLEEP, "scope": "user", "sudo": True}, "needs no root"),
    "a user's systemd that is not there": ({"exec": SLEEP, "scope": "user"}, "`loginctl enable-linger root`"),
}


@pytest.mark.parametrize(("properties", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_said_in_one_sentence(serve, box, name, properties, sentence):
    run = serve(**properties)
    assert run.outcome["state"] == "failed"
    assert sentence in run.outcome["message"], run.outcome["message"]
    assert list(units(box).rglob(f"*{name}*")) == []
    assert not Path("/tmp/elsewhere").exists()


def test_a_masked_unit_is_left_alone(serve, box, name):
    box.run("systemctl", "mask", f"{name}.service")
    run = serve(exec=SLEEP)
    assert f"{name}.service is masked" in run.outcome["message"]
    assert os.readlink(units(box) / f"{name}.service") == "/dev/null"


def test_a_machine_without_systemd_says_so(any_rig, tmp_path):
    """This machine itself may have one: then its words are written out by a program of that name."""
    tools = tmp_path / "tools"
    tools.mkdir()
    words = "System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down"
    for sentence, text in (
        ("this machine is not run by systemd (its first process is", f'echo "{words}" >&2; exit 1'),
        ("this rule in /etc/polkit-1/rules.d/50-manyarm.rules suffices", "echo Access denied >&2; exit 1"),
    ):
        (tools / "systemctl").write_text(f"#!/bin/sh\n{text}\n")
        (tools / "systemctl").chmod(0o755)
        any_rig.environment["PATH"] = f"{tools}:/usr/bin:/bin"
        run = any_rig.run(any_rig.job("systemd-service", {"service": "web", "exec": "/bin/true"}))
        assert run.outcome["state"] == "failed"
        assert sentence in run.outcome["message"]
    if shutil.which("systemctl") is None:
        any_rig.environment["PATH"] = "/usr/bin:/bin"
        run = any_rig.run(any_rig.job("systemd-service", {"service": "web", "exec": "/bin/true"}))
        assert "systemctl is not installed" in run.outcome["message"]


def test_a_service_of_the_spokes_user_needs_no_root(rig, serve, box, name, tmp_path):
    unit = "[Service]\nType=notify\nDelegate=yes\nExecStart=/lib/systemd/systemd --user --unit=manyarm.target\n"
    unit += f"Environment=XDG_RUNTIME_DIR=/run/user/0 HOME={tmp_path}\nExecStartPre=/bin/mkdir -p -m 0700 /run/user/0\n"
    home = tmp_path / ".config/systemd/user"
    home.mkdir(parents=True)
    (home / "manyarm.target").write_text("[Unit]\n")
    manager = rig.run(rig.job("systemd-service", {"service": f"{name}m", "unit": unit, "enable": False, **QUICK}))
    assert manager.outcome["state"] == "succeeded", manager.text()
    try:
        run = serve(exec=SLEEP, scope="user", wanted_by="manyarm.target", settle_s=1)
        assert run.outcome["state"] == "succeeded", run.text()
        assert (home / f"{name}.service").exists()
        failing = serve(exec="/bin/false", scope="user", wanted_by="manyarm.target")
        assert failing.outcome["state"] == "failed"
        assert f"{name}.service runs again as before" in failing.text(Stream.INFO)
    finally:
        box.run("systemctl", "stop", f"{name}m")


def test_the_page_shows_the_unit_that_its_example_makes(rig, box):
    step, blocks = example("systemd-service")
    rig.command = box.wrapped(*rig.command)
    job = rig.job("systemd-service", step["properties"], mode="preview")
    run = rig.run(job, {"ApiToken": "s3cret-token"})
    assert run.outcome["state"] == "succeeded", run.text()
    unit = [line[1:] for line in run.text(Stream.INFO).partition("+[Unit]")[2].splitlines() if line.startswith("+")]
    assert ["[Unit]", *unit] == blocks["gives"].splitlines()
    assert '+API_TOKEN="***"' in run.text(Stream.INFO)
