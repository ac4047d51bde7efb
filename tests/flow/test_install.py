"""A machine with nothing but Python and curl becomes a target by the line that stands beside its join code."""

import json
import os
import re
import shlex
import subprocess

import pytest

from tests.services.whole import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(400)]

LINE = re.compile(
    r"curl -fsSk https://(?P<hub>\S+)/install -o manyarm-install"
    r" && echo '[0-9a-f]{64}  manyarm-install' \| sha256sum -c -"
    r" && sh manyarm-install --hub (?P=hub) --wheel (?P<wheel>manyarm-\S+\.whl) --sha256 (?P<sha256>[0-9a-f]{64})"
)


@pytest.fixture(scope="module")
def made(whole):
    """A join code, as the command line gets it."""
    return whole.json("join-code", "create", "--role", "bare", "--environment", "Test", "--auto-approve", "--json")


def typed(line, folder, **environ):
    """What a person types, in a folder, with no settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MANYARM_", "PYTHON"))}
    return subprocess.run(
        line, shell=True, cwd=folder, env=kept | {"HOME": str(folder)} | environ, capture_output=True, text=True
    )


def test_the_line_beside_a_join_code_makes_a_target_of_an_empty_machine(whole, made, tmp_path):
    assert LINE.fullmatch(made["install"])
    into = tmp_path / "manyarm-spoke"
    done = typed(f"{made['install']} --into {into}", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{into}/bin/manyarm-spoke enrol JOIN-CODE --name" in done.stdout
    look = "import importlib.util as u, json; print(json.dumps({n: u.find_spec(n) is not None for n in %r}))"
    names = ("flask", "flask_login", "peewee", "fabric", "gunicorn", "psycopg", "pika", "nacl", "spokes", "wire")
    found = json.loads(typed(f"{into}/bin/python -I -c {shlex.quote(look % (names,))}", tmp_path).stdout)
    assert {name for name, there in found.items() if there} == {"pika", "nacl", "spokes", "wire"}
    spoke = [str(into / "bin" / "manyarm-spoke"), "--home", str(tmp_path / "home")]
    enrolled = typed(shlex.join([*spoke, "enrol", made["code"], "--name", "bare-1"]), tmp_path)
    assert enrolled.returncode == 0, enrolled.stdout + enrolled.stderr
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*spoke, "run"], cwd=tmp_path, stdout=log, stderr=log)
    try:
        whole.until_healthy("bare-1")
        assert "on an empty machine" in whole.manyarm("run", "--to", "bare-1", "--", "echo on an empty machine")
    finally:
        process.terminate()
        process.wait(30)
    until(lambda: process.returncode == 0, "it did not leave by itself")


@pytest.mark.parametrize("changed", ["wheel", "script"])
def test_what_is_not_what_the_line_names_is_not_installed(made, tmp_path, changed):
    sums = re.findall(r"[0-9a-f]{64}", made["install"])
    other = made["install"].replace(sums[0 if changed == "script" else -1], "0" * 64)
    done = typed(f"{other} --into {tmp_path / 'into'}", tmp_path)
    assert done.returncode != 0
    assert ("nothing was installed" if changed == "wheel" else "FAILED") in done.stdout + done.stderr
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("", 2, "--hub HOST:PORT is needed"),
        ("--hub", 2, "--hub needs a value"),
        ("--hub 'x; reboot' --wheel manyarm-1.whl", 2, "--hub HOST:PORT is needed"),
        ("--hub h:1 --wheel ../../etc/passwd", 2, "--wheel NAME is needed"),
        ("--hub h:1 --wheel manyarm-1.whl --sha256 abc", 2, "64 lowercase hexadecimal"),
        ("--frob", 2, "unknown argument --frob"),
        ("--hub 127.0.0.1:1 --wheel manyarm-1.whl --sha256 " + "0" * 64, 1, "cannot be fetched"),
    ],
)
def test_a_wrong_argument_of_the_script_is_one_sentence(made, tmp_path, words, status, told):
    hub = LINE.fullmatch(made["install"])["hub"]
    assert typed(f"curl -fsSk https://{hub}/install -o script", tmp_path).returncode == 0
    done = typed(f"sh script {words} --into {tmp_path / 'into'}" if words != "--hub" else "sh script --hub", tmp_path)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("manyarm-install: ")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "into").exists()


def test_a_machine_without_python_is_told_what_it_needs(made, tmp_path):
    hub = LINE.fullmatch(made["install"])["hub"]
    typed(f"curl -fsSk https://{hub}/install -o script", tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("id", "sh", "printf"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    words = made["install"].partition("sh manyarm-install ")[2]
    done = typed(f"/bin/sh script {words} --into {tmp_path / 'into'}", tmp_path, PATH=str(tools))
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr


def test_a_join_code_shows_the_line_and_the_command_after_it(whole):
    done = whole.run("manyarm", "join-code", "create", "--role", "bare")
    assert re.fullmatch(r"maj1-\S+\n", done.stdout)
    install, enrol = (line.strip() for line in done.stderr.splitlines() if line.startswith("  "))
    assert LINE.fullmatch(install)
    assert enrol == f"manyarm-spoke enrol {done.stdout.strip()} --name NAME"
