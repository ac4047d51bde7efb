"""What a target must have, each lack with its own sentence; and what the hub asks of an ssh spoke beside jobs."""

import shutil
import socket
import sys
import threading

import pytest

from spokes.remote.endpoint import HostKey
from tests.fakes.ssh_server import FakeSshServer, private_key
from tests.fakes.ssh_world import endpoint_of, ssh_world
from tests.services.ports import free_ports
from tests.services.sshd import running_sshd
from wire.messages import Op


@pytest.fixture
def world(tmp_path, sshd):
    with ssh_world(tmp_path, sshd) as world:
        yield world


def python_like(folder, text):
    path = folder / "a-python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def checked(world, **changes):
    with world.serving():
        return world.ask(Op.CHECK, **changes)


def test_a_fit_target_says_what_it_is(world):
    result = checked(world)
    assert result.state == "succeeded"
    assert result.message.startswith("Python 3.")
    outputs = {one.name: one.value for one in result.outputs}
    assert outputs["home"] == str(world.target_home)
    assert int(outputs["free_bytes"]) > 0


def test_a_scan_shows_the_key_and_logs_nobody_in(world):
    with world.serving():
        result = world.ask(Op.SCAN_HOST_KEY, secrets={})
        outputs = {one.name: one.value for one in result.outputs}
        assert outputs["host_key"] == world.sshd.host_key
        assert outputs["fingerprint"] == HostKey.parse(world.sshd.host_key).fingerprint
    with FakeSshServer() as server, world.serving():
        result = world.ask(Op.SCAN_HOST_KEY, endpoint={"port": server.port}, secrets={})
        assert {one.name: one.value for one in result.outputs}["host_key"] == server.host_key
        assert server.attempts == []


def test_ping_is_answered_by_the_spoke_itself(world):
    with world.serving():
        assert world.ask(Op.PING, endpoint={"port": 9}).state == "succeeded"


LACKS = {
    "no python": ("exit 127", "has no python3 that runs; 3.9 or later is needed"),
    "too old": ("echo 3.6", "has Python 3.6; 3.9 or later is needed"),
    "disk full": (f'ulimit -f 4; exec {sys.executable} "$@"', "the disk of the target is full"),
}


@pytest.mark.parametrize("lack", ["no python", "too old"])
def test_a_target_without_a_python_that_fits_says_so(world, tmp_path, lack):
    script, sentence = LACKS[lack]
    result = checked(world, endpoint={"python": python_like(tmp_path, script)})
    assert result.state == "failed"
    assert sentence in result.message


def test_a_full_disk_is_said_to_be_one(world, tmp_path):
    script, sentence = LACKS["disk full"]
    with world.serving():
        result = world.end.result(world.run(endpoint={"python": python_like(tmp_path, script)}).cid)
    assert (result.state, result.message[:10]) == ("refused", "BLOB_SPACE")
    assert sentence in result.message


def test_a_home_that_cannot_be_written_is_named(world):
    result = checked(world, endpoint={"home": "/proc/manyarm"})
    assert result.state == "failed"
    assert "/proc/manyarm cannot be written" in result.message


def test_a_user_whose_shell_runs_nothing_is_told_apart(tmp_path):
    option = 'ForceCommand echo "This account is not available."; exit 1'
    with running_sshd(tmp_path / "sshd", options=(option,)) as sshd, ssh_world(tmp_path, sshd) as world:
        result = checked(world)
        assert result.state == "failed"
        assert "runs no command of ours" in result.message
        assert "This account is not available." in result.message


def test_a_login_shell_that_talks_does_no_harm(tmp_path):
    option = 'ForceCommand echo "Welcome! $RANDOM"; echo "more" >&2; eval "$SSH_ORIGINAL_COMMAND"'
    with (
        running_sshd(tmp_path / "sshd", options=(option,)) as sshd,
        ssh_world(tmp_path, sshd) as world,
        world.serving(),
    ):
        assert world.end.result(world.run("echo here").cid).state == "succeeded"


def test_no_sftp_is_needed(tmp_path):
    with running_sshd(tmp_path / "sshd") as sshd, ssh_world(tmp_path, sshd) as world, world.serving():
        ref = world.gateway.add_package(b"content" * 1000, "web", "1.0.0", "tar")
        assert "Subsystem" not in (sshd.folder / "sshd_config").read_text()
        assert (
            world.end.result(world.end.command(world.home.spoke_id, world.job(extra=(ref,))).cid).state == "succeeded"
        )


def test_who_is_not_let_in_is_told_as_whom(world):
    login = {"Manyarm.Endpoint.private_key": private_key()}
    result = checked(world, secrets=login)
    assert f"does not let user {world.sshd.user} in with the key" in result.message


def test_nobody_there_and_somebody_else_there_are_told_apart(world):
    (port,) = free_ports(1)
    assert "nothing listens at" in checked(world, endpoint={"port": port}).message
    assert "is not known here" in checked(world, endpoint={"host": "nowhere.invalid"}).message
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_talk, args=(server,), daemon=True).start()
        message = checked(world, endpoint={"port": server.getsockname()[1]}).message
        assert "does not answer as an SSH server does" in message


def _talk(server):
    for _ in range(2):
        try:
            sock, _ = server.accept()
        except OSError:
            return
        with sock:
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 300)


def test_a_target_whose_endpoint_changed_is_reached_the_new_way(world, tmp_path):
    with running_sshd(tmp_path / "other") as other, world.serving() as daemon:
        shutil.copy(world.sshd.folder / "client.pub", other.folder / "authorized_keys")
        first = world.run("echo line 5; sleep 2")
        world.end.wait(lambda: b"line 5" in world.end._spool_unlocked(first.cid), "its line")
        moved = endpoint_of(other, tmp_path / "moved")
        second = world.run("pwd", endpoint=moved)
        assert world.end.result(second.cid).state == "succeeded"
        assert str(tmp_path / "moved").encode() in world.end.whole_log(second.cid)
        assert world.end.result(first.cid).state == "succeeded"
        assert len(daemon.sites.known()) == 1
