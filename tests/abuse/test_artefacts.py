"""T186: what we publish carries no private key, no default password and no fixed salt."""

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from hub.wheel import pack_wheel
from runner.build import build

ROOT = Path(__file__).parents[2]

# Written so that this file does not find itself.
PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}")
DEFAULT_PASSWORD = re.compile(
    rb"""(?i)\b(?:default_)?(?:password|passwd|passphrase)["']?\s*[:=]\s*["'][^"'{}$<>\s]{4,}["']"""
)
FIXED_SALT = re.compile(rb"""(?i)\bsalt["']?\s*[:=]\s*b?["'][^"']+["']""")
# A word of the API that names a kind of account.
HARMLESS = (rb'PASSWORD = "password"',)
# Text of ours that is shipped; tests and the demo may name passwords of their own making.
SHIPPED = ("wire/", "hub/", "spokes/", "runner/", "portal/", "config/")


def _tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def _members(archive):
    with zipfile.ZipFile(archive) as opened:
        return {f"{archive.name}!{name}": opened.read(name) for name in opened.namelist()}


def _faults(contents, *, shipped):
    patterns = [PRIVATE_KEY, *((DEFAULT_PASSWORD, FIXED_SALT) if shipped else ())]
    return [
        f"{name}: {found.group()[:60]!r}"
        for name, content in contents.items()
        for pattern in patterns
        for found in pattern.finditer(content)
        if found.group() not in HARMLESS
    ]


def test_t186_the_tree_carries_no_private_key():
    assert _faults({str(path): path.read_bytes() for path in _tracked()}, shipped=False) == []


def test_t186_what_is_shipped_carries_no_default_password_and_no_fixed_salt():
    shipped = {
        name: path.read_bytes() for path in _tracked() if (name := str(path.relative_to(ROOT))).startswith(SHIPPED)
    }
    assert shipped
    assert _faults(shipped, shipped=True) == []


def test_t186_the_built_runner_and_the_wheel_are_clean(tmp_path):
    for archive in (build(tmp_path / "runner.pyz").path, pack_wheel(tmp_path)):
        assert _faults(_members(archive), shipped=True) == []


@pytest.mark.parametrize(
    "content",
    [
        b"-----BEGIN " + b"PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n",
        b"-----BEGIN " + b"OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE=\n",
        b"password" + b' = "manyarm"',
        b"'password'" + b": 'admin1'",
        b"SALT" + b' = b"0123456789abcdef"',
    ],
)
def test_t186_the_scan_finds_what_it_looks_for(content):
    assert _faults({"x": content}, shipped=True)
