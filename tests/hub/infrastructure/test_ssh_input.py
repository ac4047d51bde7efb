"""Hosts, users, paths and keys letter by letter. Hostile ones stand in tests/abuse/test_ssh.py."""

import base64
import struct
import subprocess

import pytest

from hub.errors import Invalid
from hub.infrastructure import ssh_input

ED25519 = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + bytes(range(32))
KEY = f"ssh-ed25519 {base64.b64encode(ED25519).decode()}"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("web-1", "web-1"),
        ("Web-1.Example.COM.", "web-1.example.com"),
        ("10.0.0.7", "10.0.0.7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_names_and_addresses_are_taken(typed, kept):
    assert ssh_input.checked_host(typed, allow_inner=False) == kept


@pytest.mark.parametrize("user", ["root", "deploy", "svc_deploy.01", "_apt", "a-b", "ops@corp.example", "svc$"])
def test_users_are_taken(user):
    assert ssh_input.checked_user(user) == user


@pytest.mark.parametrize("path", ["", "/opt/manyarm", "~/.manyarm", "/usr/bin/python3.12", "/srv/a_b/c+d"])
def test_paths_are_taken(path):
    assert ssh_input.checked_path(path, "home") == path


@pytest.mark.parametrize(
    ("typed", "host", "port"),
    [("a", "a", 22), ("a:2222", "a", 2222), ("[::1]:2222", "::1", 2222), ("[::1]", "::1", 22), ("::1", "::1", 22)],
)
def test_host_and_port_come_apart(typed, host, port):
    assert ssh_input.split_address(typed, 22) == (host, port)


@pytest.mark.parametrize("typed", ["a:b", "a:99999999", "[::1", "[::1]2222"])
def test_what_is_no_address_with_a_port_is_refused(typed):
    with pytest.raises(Invalid):
        ssh_input.split_address(typed, 22)


def test_a_host_key_is_kept_without_its_comment():
    assert ssh_input.checked_host_key(f"{KEY} root@web-1") == KEY


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "ssh-ed25519",
        "ssh-dss AAAA",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 not*base64",
        f"ssh-rsa {KEY.split()[1]}",
        f'command="id" {KEY}',
    ],
)
def test_what_is_no_host_key_is_refused(typed):
    with pytest.raises(Invalid):
        ssh_input.checked_host_key(typed)


def test_the_fingerprint_is_the_one_that_ssh_keygen_prints(tmp_path):
    (tmp_path / "key.pub").write_text(KEY)
    printed = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    assert ssh_input.fingerprint_of(KEY) == printed.stdout.split()[1]
    assert ssh_input.checked_fingerprint(printed.stdout.split()[1]) == printed.stdout.split()[1]
