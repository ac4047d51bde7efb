"""Abuse of the way to SSH targets: hosts that are not who they were, texts that would be options, what lies about."""

import json
import os
import stat
import subprocess
import sys
import textwrap
import time
import zlib
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from spokes.remote.endpoint import Endpoint, HostKey, Login
from spokes.ssh import open_connection
from tests.fakes.ssh_server import FakeSshServer, private_key
from tests.fakes.ssh_world import ssh_world, way_to
from tests.services.sshd import running_sshd
from wire.errors import Code, Refused
from wire.messages import Op
from wire.secret import Secret

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path, sshd):
    with ssh_world(tmp_path, sshd) as world:
        yield world


def logins():
    return [
        {"Manyarm.Endpoint.private_key": private_key()},
        {"Manyarm.Endpoint.password": "canary-password"},
    ]


def test_t117_a_host_whose_key_was_never_confirmed_is_not_even_dialled(world):
    before = world.sshd.log
    with world.serving():
        result = world.end.result(world.run(endpoint={"host_key": ""}).cid)
        checked = world.ask(Op.CHECK, endpoint={"host_key": ""})
    assert (result.state, checked.state) == ("refused", "failed")
    assert result.message.startswith("SSH_UNKNOWN_HOST")
    assert checked.message.startswith("SSH_UNKNOWN_HOST")
    assert world.sshd.log == before


@pytest.mark.parametrize("number", [0, 1])
def test_t118_a_host_with_another_key_learns_nothing_of_us(world, number):
    expected = HostKey.parse(world.endpoint["host_key"]).fingerprint
    with FakeSshServer() as server, world.serving():
        changed = {"port": server.port}
        result = world.ask(Op.CHECK, endpoint=changed, secrets=logins()[number])
        assert result.state == "failed"
        assert result.message.startswith("SSH_HOSTKEY")
        assert f"expected {expected}, found {HostKey.parse(server.host_key).fingerprint}" in result.message
        assert server.attempts == []
        # The same server is told who we are once its key is the one that was confirmed: the fake can see it.
        world.ask(Op.CHECK, endpoint=changed | {"host_key": server.host_key}, secrets=logins()[number])
        assert server.attempts


def test_t119_a_key_that_changes_between_two_connections_ends_the_deployment_cleanly(tmp_path):
    with running_sshd(tmp_path / "sshd") as sshd, ssh_world(tmp_path, sshd) as world, world.serving():
        sent = world.run("echo line 5; sleep 8")
        world.end.wait(lambda: b"line 5" in world.end._spool_unlocked(sent.cid), "its line")
        expected = HostKey.parse(sshd.host_key).fingerprint
        sshd.make_host_key()
        sshd.cut()
        result = world.end.result(sent.cid)
        assert result.state == "unknown"
        assert "SSH_HOSTKEY" in result.known
        refused = world.end.result(world.run().cid)
        assert refused.state == "refused"
        assert f"expected {expected}, found {HostKey.parse(sshd.host_key).fingerprint}" in refused.message
        sshd.make_host_key("rsa")
        refused = world.end.result(world.run().cid)
        assert refused.state == "refused"
        assert f"expected {expected}, found {HostKey.parse(sshd.host_key).fingerprint}" in refused.message


@pytest.mark.parametrize(
    "bad",
    [
        {"host": "-oProxyCommand=touch /tmp/owned"},
        {"host": "ssh://-oProxyCommand=x/y"},
        {"host": "ext::sh -c id"},
        {"host": "a b"},
        {"host": "host;id"},
        {"host": "fe80::1%eth0;id"},
        {"host": ""},
        {"host": ["127.0.0.1"]},
        {"user": "a b;id"},
        {"user": "-lroot"},
        {"user": "$(id)"},
        {"user": ""},
        {"port": 0},
        {"port": "22 -oX"},
        {"port": True},
        {"home": "; rm -rf ~"},
        {"home": "/srv/$(id)"},
        {"home": "/srv/../../etc"},
        {"home": "relative"},
        {"python": "/usr/bin/python3' ; id '"},
        {"python": "-c"},
        {"python": "~/bin/python"},
        {"host_key": "-oX"},
        {"host_key": "ssh-dss AAAAB3NzaC1kc3MAAACB"},
        {"host_key": "ssh-ed25519 AAAAB3NzaC1yc2E="},
        {"kind": "docker"},
        {"allow_weak": "yes"},
        {"proxy_command": "touch /tmp/owned"},
        {"ProxyJump": "evil"},
        {"forward_agent": True},
    ],
    ids=lambda bad: f"{next(iter(bad))}",
)
def test_t120_what_would_be_an_option_or_a_command_is_refused(world, bad):
    with pytest.raises(Refused) as refused:
        Endpoint.of(world.job(endpoint=bad))
    assert refused.value.code is Code.SSH_ARG


def test_t120_a_job_with_such_a_text_is_refused_and_no_argument_of_ours_comes_from_people(world):
    before = world.sshd.log
    with world.serving():
        result = world.end.result(world.run(endpoint={"host": "-oProxyCommand=id"}).cid)
        assert (result.state, result.message[:7]) == ("refused", "SSH_ARG")
        assert world.sshd.log == before
        sent = world.run("sleep 2", job={"isolation": "; touch /tmp/owned"})
        world.end.wait((world.target_home / "jobs" / sent.cid / "output").exists, "the run")
        here = [one.cmdline() for one in psutil.process_iter() if _is_hand(one)]
        assert here
        assert all("; touch" not in " ".join(line) for line in here)
        assert world.end.result(sent.cid).state == "succeeded"


def _is_hand(process):
    try:
        return any("sys.stdin.buffer" in part for part in process.cmdline())
    except psutil.Error:
        return False


def test_t121_nothing_that_lies_about_on_the_hub_is_used(tmp_path, sshd):
    home, marker = tmp_path / "home", tmp_path / "marker"
    (home / ".ssh").mkdir(mode=0o700, parents=True)
    for name in ("id_ed25519", "id_rsa"):
        (home / ".ssh" / name).write_text(sshd.client_key)
        (home / ".ssh" / name).chmod(0o600)
    (home / ".ssh" / "config").write_text(
        f"Host *\n  ProxyCommand touch {marker}\n  ForwardAgent yes\n  GSSAPIAuthentication yes\n  User somebody\n"
    )
    (home / ".ssh" / "known_hosts").write_text(f"[{sshd.host}]:{sshd.port} {sshd.host_key}\n")
    (home / ".fabric.yaml").write_text(
        f"load_ssh_configs: true\nforward_agent: true\ngateway: 'touch {marker}'\nuser: somebody\n"
        f"connect_kwargs:\n  key_filename: {home / '.ssh' / 'id_ed25519'}\n"
    )
    (tmp_path / "fabric.yaml").write_text((home / ".fabric.yaml").read_text())
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    environ = os.environ | {
        "HOME": str(home),
        "SSH_AUTH_SOCK": str(tmp_path / "agent"),
        "FABRIC_FORWARD_AGENT": "1",
        "FABRIC_GATEWAY": f"touch {marker}",
        "INVOKE_FORWARD_AGENT": "1",
        "PYTHONPATH": str(ROOT),
        "HOST_KEY": sshd.host_key,
        "PORT": str(sshd.port),
        "LOGIN": sshd.user,
        "RIGHT": sshd.client_key,
        "WRONG": private_key(),
    }
    try:
        while not (tmp_path / "agent").exists():
            time.sleep(0.02)
        added = subprocess.run(["ssh-add", str(home / ".ssh" / "id_ed25519")], env=environ, capture_output=True)
        assert added.returncode == 0, added.stderr
        said = subprocess.run([sys.executable, "-c", _TRIES], env=environ, cwd=tmp_path, capture_output=True, text=True)
    finally:
        agent.terminate()
        agent.wait()
    assert said.stdout.split() == ["refused", "agent=", "unknown"], said.stdout + said.stderr
    assert not marker.exists()


_TRIES = textwrap.dedent("""
    import os
    from spokes.agent.errors import LoginRefused
    from spokes.remote.endpoint import Address, Endpoint, HostKey, Login
    from spokes.ssh import open_connection
    from wire.errors import Refused
    from wire.secret import Secret

    def way(key, host_key):
        address = Address("127.0.0.1", int(os.environ["PORT"]))
        login = Login(os.environ["LOGIN"], Secret(os.environ[key]), None, None)
        return Endpoint(address, login, host_key, "", "", False)

    known = HostKey.parse(os.environ["HOST_KEY"])
    try:
        open_connection(way("WRONG", known))
    except LoginRefused:
        print("refused")
    session = open_connection(way("RIGHT", known)).session("echo agent=$SSH_AUTH_SOCK")
    print(session.receive(100).decode())
    try:
        open_connection(way("RIGHT", None))
    except Refused:
        print("unknown")
    os._exit(0)
""")


def test_t122_secrets_are_nowhere_on_the_target(world, tmp_path):
    canary = "canary-91d0e7c2a4"
    key_line = world.sshd.client_key.splitlines()[2]
    script = 'v="$(get_variable Token)"; echo "length ${#v}, value $v"; sleep 2'
    with world.serving():
        sent = world.run(script, secrets={"Token": canary})
        found, looks = set(), 0
        while not world.end.results[sent.cid]:
            found |= {place for word in (canary, key_line) for place in _places_of(word, world.target_home)}
            looks += 1
        assert world.end.result(sent.cid).state == "succeeded"
        assert b"length 17, value ***" in world.end.whole_log(sent.cid)
        found |= {place for word in (canary, key_line) for place in _places_of(word, world.target_home)}
    assert looks > 2
    assert not found


def test_t122_what_lets_us_in_is_not_told_to_the_run(world):
    script = 'echo "key $(get_variable Manyarm.Endpoint.private_key | grep -c PRIVATE)"; sleep 1'
    with world.serving():
        sent = world.run(script)
        file = world.target_home / "jobs" / sent.cid / "job.json"
        world.end.wait(file.exists, "the job's file")
        said = file.read_text()
        assert world.end.result(sent.cid).state in {"succeeded", "failed"}
        assert b"key 0" in world.end.whole_log(sent.cid)
    assert '"endpoint"' not in said
    assert world.sshd.host_key not in said


def _places_of(word, home):
    """Where the target's other users or its disk could show it."""
    for process in psutil.process_iter():
        try:
            shown = " ".join(process.cmdline()) + "\n".join(process.environ().values())
        except psutil.Error:
            continue
        if word in shown and process.pid != os.getpid():
            yield f"process {process.cmdline()}"
    history = Path.home() / ".bash_history"
    for path in [*home.rglob("*"), *([history] if history.exists() else [])]:
        try:
            if path.is_file() and word.encode() in path.read_bytes():
                yield str(path)
        except OSError:
            continue


@pytest.mark.parametrize("how", ["link", "open to all", "another user's", "a part is a link"])
def test_t123_a_home_that_somebody_else_laid_out_is_refused(world, tmp_path, how):
    if how == "another user's" and os.geteuid() != 0:
        pytest.skip("only root can make another user's folder")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if how == "link":
        world.target_home.symlink_to(elsewhere)
    elif how == "open to all":
        world.target_home.mkdir()
        world.target_home.chmod(0o777)
    elif how == "another user's":
        world.target_home.mkdir(mode=0o700)
        os.chown(world.target_home, 12_345, 12_345)
    else:
        world.target_home.mkdir(mode=0o700)
        (world.target_home / "jobs").symlink_to(elsewhere)
    with world.serving():
        result = world.end.result(world.run("true", not_before=0).cid, 60)
        assert result.state == "refused"
        assert "find out who made it" in result.message or "expected mode 0700" in result.message
    assert not list(elsewhere.iterdir())


def test_t123_names_are_private_and_cannot_be_guessed(world):
    with world.serving():
        assert world.end.result(world.run().cid).state == "succeeded"
        for path in world.target_home.rglob("*"):
            if path.is_symlink() or "runners" in path.parts:
                continue
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


WEAK = {
    "ssh-rsa": ("HostKeyAlgorithms ssh-rsa",),
    "3des": ("Ciphers 3des-cbc",),
    "cbc": ("Ciphers aes128-cbc,aes192-cbc,aes256-cbc",),
    "md5": ("Ciphers aes128-ctr", "MACs hmac-md5,hmac-md5-96"),
    "sha1": ("Ciphers aes128-ctr", "MACs hmac-sha1,hmac-sha1-96,hmac-sha1-etm@openssh.com"),
    "group1": ("KexAlgorithms diffie-hellman-group1-sha1,diffie-hellman-group14-sha1",),
}


@pytest.mark.parametrize("weak", WEAK)
def test_t124_a_server_that_offers_only_what_is_weak_is_refused(tmp_path, weak):
    kind = "rsa" if weak == "ssh-rsa" else "ed25519"
    with running_sshd(tmp_path / "sshd", options=WEAK[weak], host_key=kind) as sshd:
        with pytest.raises(Refused) as refused:
            open_connection(way_to(sshd, allow_weak=True))
        assert refused.value.code is Code.SSH_ALGO
        assert "userauth" not in sshd.log
        assert "Accepted" not in sshd.log


@pytest.mark.parametrize("number", [0, 1])
def test_t125_a_server_without_strict_key_exchange_needs_leave(sshd, number):
    login = logins()[number]
    key, password = (
        Secret(login[name]) if name in login else None
        for name in ("Manyarm.Endpoint.private_key", "Manyarm.Endpoint.password")
    )
    with FakeSshServer(strict=False) as server:
        way = way_to(
            sshd,
            login=Login("deploy", key, None, password),
            host_key=HostKey.parse(server.host_key),
        )
        way = replace(way, address=replace(way.address, port=server.port))
        with pytest.raises(Refused) as refused:
            open_connection(way)
        assert refused.value.code is Code.SSH_ALGO
        assert server.attempts == []
        connection = open_connection(replace(way, allow_weak=True))
        assert "strict key exchange" in connection.weak
        connection.close()


def test_t126_a_runner_that_is_altered_on_the_target_does_not_start(world, tmp_path):
    witness = tmp_path / "witness"
    with world.serving():
        assert world.end.result(world.run().cid).state == "succeeded"
        installed = world.target_home / "runners" / world.runner.sha256
        _write_over(installed / "runner" / "supervisor.py", f"open({str(witness)!r}, 'w')\n")
        result = world.end.result(world.run(f"touch {witness}").cid)
        assert (result.state, result.message[:8]) == ("refused", "RUN_HASH")
        assert not witness.exists()
        assert world.end.result(world.run("true").cid).state == "succeeded"


@pytest.mark.parametrize("how", ["a link", "a hidden file", "a new file"])
def test_t126_what_is_added_to_a_runner_is_seen_too(world, how):
    with world.serving():
        assert world.end.result(world.run().cid).state == "succeeded"
        folder = world.target_home / "runners" / world.runner.sha256
        folder.chmod(0o700)
        if how == "a link":
            (folder / "json").symlink_to("/usr")
        else:
            (folder / (".hidden.py" if how == "a hidden file" else "json.py")).write_text("raise SystemExit\n")
        result = world.end.result(world.run().cid)
        assert (result.state, result.message[:8]) == ("refused", "RUN_HASH")


def test_t126_a_job_that_is_altered_on_its_way_to_the_start_does_not_start(world, tmp_path):
    witness = tmp_path / "witness"
    with world.serving() as daemon:
        assert world.end.result(world.run().cid).state == "succeeded"
        link = daemon.sites.known()[0].machine.connecting.link()
        ask = link.ask

        def altered(do, body=b"", **request):
            if do == "start":
                size, is_packed = request["file"]
                job = zlib.decompress(body[:size]) if is_packed else body[:size]
                other = job.replace(b'"true"', f'"touch {witness}"'.encode(), 1)
                assert other != job
                return ask(do, other + body[size:], **request | {"file": [len(other), False]})
            return ask(do, body, **request)

        link.ask = altered
        result = world.end.result(world.run("true").cid)
        assert (result.state, result.message[:8]) == ("refused", "RUN_HASH")
        assert not witness.exists()


def test_t126_a_job_that_lies_there_already_is_not_the_one_that_starts(world, tmp_path):
    witness = tmp_path / "witness"
    with world.serving() as daemon:
        assert world.end.result(world.run().cid).state == "succeeded"
        link = daemon.sites.known()[0].machine.connecting.link()
        ask = link.ask

        def laid_before(do, body=b"", **request):
            if do == "start":
                folder = world.target_home / request["folder"]
                folder.mkdir(0o700)
                (folder / "job.json").write_text(json.dumps({"script": f"touch {witness}"}))
            return ask(do, body, **request)

        link.ask = laid_before
        assert world.end.result(world.run("true").cid).state == "succeeded"
        assert not witness.exists()


def _write_over(path, content):
    path.parent.chmod(0o700)
    path.chmod(0o600)
    path.write_text(content + path.read_text())
