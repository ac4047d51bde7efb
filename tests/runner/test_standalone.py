"""`python3 runner.pyz run job.json`, as a person on a laptop types it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runner.rig import make_zip


@pytest.fixture(params=["archive"])
def here(built, tmp_path):
    """Runs a job.json of these fields with the archive itself, and nothing of ours in the environment."""

    class Here:
        folder = tmp_path

        def write(self, fields, name="job.json"):
            path = tmp_path / name
            path.write_text(fields if isinstance(fields, str) else json.dumps(fields))
            return path

        def command(self, path):
            return [sys.executable, str(built.path), "run", str(path)]

        def run(self, fields, **environ):
            environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path), **environ}
            return subprocess.run(
                self.command(self.write(fields)),
                capture_output=True,
                text=True,
                env=environ,
                cwd="/",
                timeout=60,
                check=False,
            )

    return Here()


def test_three_fields_are_a_job(here):
    script = "echo Hello $(get_variable Name) from $(get_variable Manyarm.Environment.Name); echo oops >&2"
    ended = here.run({"kind": "run-script", "properties": {"script": script}, "variables": {"Name": "world"}})
    assert (ended.returncode, ended.stdout) == (0, "Hello world from Local\n"), ended.stderr
    assert "oops\n" in ended.stderr
    assert "\nsucceeded\n" in ended.stderr


def test_a_package_beside_the_job_is_deployed_below_the_home_that_it_names(here):
    make_zip(
        here.folder / "storefront.1.2.3-rc.1.zip",
        {"index.html": "#{Greeting} #{Manyarm.Package.Version}", "Deploy.sh": "pwd"},
    )
    ended = here.run(
        {
            "kind": "deploy-package",
            "package": "storefront.1.2.3-rc.1.zip",
            "properties": {"substitute_in": ["*.html"]},
            "variables": {"Greeting": "Hello"},
            "environment": "Test",
            "home": "here",
        }
    )
    assert ended.returncode == 0, ended.stderr
    release = Path(ended.stdout.strip())
    assert release.is_relative_to(here.folder / "here/applications/Test/storefront")
    assert (release / "index.html").read_text() == "Hello 1.2.3-rc.1"
    assert "output InstallDirectory: " in ended.stderr


def test_secrets_come_from_the_environment_and_are_masked(here):
    fields = {"kind": "run-script", "properties": {"script": "get_variable Token; env | grep -c API_TOKEN || true"}}
    ended = here.run({**fields, "secrets": {"Token": "API_TOKEN"}}, API_TOKEN="abc-secret-abc")
    assert (ended.returncode, ended.stdout) == (0, "***0\n"), ended.stderr
    assert "abc-secret" not in ended.stderr
    ended = here.run(fields, MANYARM_SECRETS='{"Token": "abc-secret-abc"}')
    assert (ended.returncode, ended.stdout) == (0, "***0\n"), ended.stderr


def test_outputs_artifacts_and_progress_are_told(here):
    script = (
        "progress 50 half; set_variable Url http://x; set_variable Pass abcdefgh --secret; echo x > f; new_artifact f"
    )
    ended = here.run({"kind": "run-script", "properties": {"script": script}})
    assert ended.returncode == 0, ended.stderr
    assert "50 % half\n" in ended.stderr
    assert "output Url: http://x\noutput Pass: ***\nartifact f: " in ended.stderr


def test_a_failure_is_status_1_and_says_what_failed(here):
    ended = here.run({"kind": "run-script", "properties": {"script": "exit 7"}})
    assert ended.returncode == 1
    assert "failed: script script ended with exit code 7\njob folder: " in ended.stderr
    ended = here.run(
        {"kind": "run-script", "properties": {"script": "sleep 60"}, "limits": {"wall_s": 1}, "grace_s": 0}
    )
    assert ended.returncode == 1
    assert "timed-out: not done within 1 seconds" in ended.stderr


def test_an_interrupt_ends_all_that_the_job_started(here):
    fields = {
        "kind": "run-script",
        "properties": {"script": "sleep 300 & echo $! > $HOME/pid; echo ready; wait"},
        "grace_s": 0,
    }
    process = subprocess.Popen(
        here.command(here.write(fields)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(here.folder), "TMPDIR": str(here.folder)},
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "cancelled: cancelled: interrupted" in told
    assert "Traceback" not in told
    deadline = time.monotonic() + 10
    while Path(f"/proc/{(here.folder / 'pid').read_text().strip()}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


SCRIPT = {"kind": "run-script", "properties": {"script": "true"}}
BAD = {
    "no file": (None, "No such file or directory"),
    "no JSON": ('{"kind": "run-script",\n "properties": }', "job.json:2: no JSON: Expecting value"),
    "a list": ("[]", "expected a JSON object"),
    "no kind": ({}, "job field 'kind': is missing"),
    "an unknown kind": ({**SCRIPT, "kind": "run-scrip"}, "no step kind is called 'run-scrip'; this runner knows"),
    "an unknown field": ({**SCRIPT, "propertys": {}}, "job field 'propertys': nobody knows this field; known are kind, step"),
    "an unknown property": ({**SCRIPT, "properties": {"scrip": "x"}}, "job field 'properties.scrip': run-script takes no such property"),
    "a missing property": ({"kind": "run-script"}, "job field 'properties.script': run-script needs it"),
    "a number for a text": ({**SCRIPT, "variables": {"Port": 8080}}, "job field 'variables': expected an object of texts"),
    "a list for an object": ({**SCRIPT, "properties": []}, "job field 'properties': expected an object"),
    "a limit of none": ({**SCRIPT, "limits": {"wall_s": 0}}, "job field 'limits': expected an object of whole numbers"),
    "an unknown limit": ({**SCRIPT, "limits": {"ram": 1}}, "job field 'limits.ram': nobody knows this limit; known are cpu_s"),
    "a mode that is none": ({**SCRIPT, "mode": "undo"}, "job field 'mode': expected one of install"),
    "no package": ({"kind": "deploy-package"}, "job field 'package': deploy-package needs one"),
    "a package without a version": ({"kind": "deploy-package", "package": "a.zip"}, "expected a file named ID.VERSION.EXTENSION"),
    "a package of no kind": ({"kind": "deploy-package", "package": "a.1.0.rar"}, "job field 'package': expected a file named"),
    "a package that is not there": ({"kind": "deploy-package", "package": "a.1.0.zip"}, "a.1.0.zip: No such file"),
    "a secret that is not there": ({**SCRIPT, "secrets": {"T": "NOWHERE"}}, "job field 'secrets.T': there is no environment variable 'NOWHERE'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_job_is_told_with_field_and_expected_and_nothing_is_done(here, name):
    fields, says = BAD[name]
    if fields is None:
        fields = {"kind": "run-script"}
        ended = subprocess.run(here.command(here.folder / "absent.json"), capture_output=True, text=True, check=False)
    else:
        ended = here.run(fields)
    assert ended.returncode == 2, ended.stderr
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 2
    assert not list(here.folder.glob("manyarm-run-*"))


def test_help_tells_every_field(here):
    ended = subprocess.run([*here.command("--help")], capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    from runner.handwritten import _FIELDS

    assert not [name for name in _FIELDS if name not in ended.stdout]
    ended = subprocess.run([*here.command("x")[:2], "--help"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout[:6]) == (0, "usage:")


def test_the_same_on_every_python(any_rig, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({"kind": "run-script", "properties": {"script": "echo hello"}}))
    ended = subprocess.run(
        [*any_rig.command, "run", str(tmp_path / "job.json")],
        capture_output=True,
        text=True,
        env=any_rig.environ(),
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "hello\n"), ended.stderr
