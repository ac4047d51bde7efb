"""A script of a step that runs on the hub reaches for all that the hub has, and gets none of it."""

import json
import os
from pathlib import Path

import pytest

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="without root the local spoke has no OS user of its own")

# What each attempt got, or the name of what it met.
REACH = """
import ctypes, json, os, signal, sys

def attempt(what):
    try:
        got = what()
    except BaseException as error:
        return type(error).__name__
    return f"GOT {got!r:.60}"

def read(path):
    return lambda: open(path, "rb").read(100)

def write(path):
    return lambda: open(path, "ab").close() or "may write"

def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    def what():
        if libc.ptrace(16, pid, None, None) != 0:  # PTRACE_ATTACH
            raise OSError(ctypes.get_errno(), "ptrace")
        return "attached"
    return what

def descriptors(pid):
    return lambda: [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]

def become_root():
    os.setuid(0)
    return os.getuid()

given = json.loads('''@given@''')
found = {}
for path in given["files"]:
    found["read " + path] = attempt(read(path))
    found["write " + path] = attempt(write(path))
for path in given["folders"]:
    found["list " + path] = attempt(lambda: os.listdir(path))
for name, pid in given["pids"].items():
    for part in ("environ", "mem", "maps", "auxv"):
        found[f"{part} of {name}"] = attempt(read(f"/proc/{pid}/{part}"))
    found["descriptors of " + name] = attempt(descriptors(pid))
    if name in given["traced"]:
        found["trace " + name] = attempt(trace(pid))
    if name != "local":
        found["signal to " + name] = attempt(lambda: os.kill(pid, 0) or "may kill")
found["setuid"] = attempt(become_root)
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
print("FOUND " + json.dumps(found))
print("WHO " + json.dumps({
    "uid": os.getresuid(), "groups": os.getgroups(), "environ": dict(os.environ),
    "no_new_privs": status["NoNewPrivs"].strip(), "caps": status["CapPrm"].strip() + status["CapAmb"].strip(),
    "descriptors": [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")],
}))
"""


@pytest.fixture(scope="module")
def reached(house) -> dict:
    """What a script on the hub got of what it reached for, and who it was."""
    home = house.home
    made = [path for path in home.rglob("*") if path.is_file()]
    files = {str(path) for path in made if path.name in {"manyarm.db", ".erlang.cookie", "hub.log", "state.json"}}
    pids = {name: house.part(name) for name in ("hub", "portal", "gateway", "local")}
    # Without root the broker could be traced, and would then stand still.
    traced = [*pids, "up", *(["broker"] if os.geteuid() == 0 else [])]
    given = {
        "traced": traced,
        "files": sorted(files | {f"{home}.master-key"}),
        "folders": [str(home), str(home / "spokes"), str(home / "spokes" / "local"), str(home.parent), "/root"],
        "pids": {**pids, "up": house.up_pid(), "broker": house.broker_pid()},
    }
    assert any(name.endswith("manyarm.db") for name in files)
    script = house.folder / "reach.py"
    script.write_text(REACH.replace("@given@", json.dumps(given)))
    done = house.run("manyarm", "run", "--to", "hub", "--shell", "python", "--file", str(script))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.partition("| ")[2] for line in done.stdout.splitlines()]
    found = next(line for line in lines if line.startswith("FOUND ")).removeprefix("FOUND ")
    who = next(line for line in lines if line.startswith("WHO ")).removeprefix("WHO ")
    return {"found": json.loads(found), "who": json.loads(who)}


@as_root
def test_a_script_on_the_hub_reaches_no_file_process_or_descriptor_of_the_hub(reached):
    got = {what: gave for what, gave in reached["found"].items() if gave.startswith("GOT")}
    assert got == {}
    assert len(reached["found"]) > 40


def test_a_script_on_the_hub_reads_neither_memory_nor_environment_of_the_hubs_processes(reached):
    """Without root, too: those processes keep to themselves, even from their own user."""
    kept = ("environ of", "mem of", "descriptors of", "trace ")
    tried = {
        what: gave
        for what, gave in reached["found"].items()
        if what.startswith(kept) and not what.endswith(("broker", " up"))
    }
    assert set(tried.values()) == {"PermissionError"}
    assert len(tried) == 16


@as_root
def test_a_script_on_the_hub_is_a_user_without_groups_or_capabilities_and_stays_it(reached):
    who = reached["who"]
    assert who["uid"] == [who["uid"][0]] * 3
    assert who["uid"][0] != 0
    assert who["groups"] in ([], [who["uid"][0]])
    assert who["caps"].strip("0") == ""
    assert who["no_new_privs"] == "1"


def test_a_script_on_the_hub_sees_nothing_of_the_environment_that_started_the_hub(reached):
    environ = reached["who"]["environ"]
    assert not [name for name in environ if "SECRET" in name or "MASTER" in name or "KEK" in name or "API_KEY" in name]
    assert not [value for value in environ.values() if "environment" in value]
    ours = {name for name in environ if name.startswith("MANYARM")}
    assert not {name for name in ours if name.startswith(("MANYARM_LEASH", "MANYARM_READY", "MANYARM_LOG_FILE"))}


def test_a_script_on_the_hub_inherits_no_descriptor_of_the_spoke(house, reached):
    inside = ("/dev/null", "pipe:", "socket:", "/proc/", str(house.local_home / "jobs"), "anon_inode")
    strange = [name for name in reached["who"]["descriptors"] if not name.startswith(inside)]
    assert strange == []


@as_root
def test_the_home_of_the_local_spoke_is_its_own_and_nobody_elses(house):
    home: Path = house.local_home
    assert home.stat().st_mode & 0o077 == 0
    assert home.stat().st_uid == (home / "identity" / "spoke.json").stat().st_uid != 0
