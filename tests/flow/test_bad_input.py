"""Bad input to a running hub gets one clear sentence and the right exit status; nothing is lost, the next honest try works."""

import contextlib
import http.client
import io
import json
import os
import random
import re
import resource
import signal
import subprocess
import tarfile
import zipfile
from urllib.parse import urlsplit

import psutil
import pytest

from hub.broker.process import is_alive, mark, wait_gone
from tests.services.refusals import apply, refused
from tests.services.requires import requires
from tests.services.whole import BIN, Whole, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 1024 * 1024
PROJECT = """
kind: Lifecycle
name: Narrow
phases: [{name: Only, environments: [Test]}]
---
kind: Project
name: Narrow
lifecycle: Narrow
process:
  - name: Install
    kind: deploy-package
    roles: [web]
    package: narrow
    properties: {install_to: "#{Manyarm.Home}/sites/narrow"}
"""


class Room:
    """How much may be written into a folder: a file system of its own for root, else a limit on files of its writers."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True)
        self._own = os.geteuid() == 0 and self._mounted("size=4g,mode=700")

    def shrink(self, left_mib, *writers):
        """Leave so much; `writers` are the processes that write here."""
        if self._own:
            found = os.statvfs(self.folder)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            assert self._mounted(f"remount,size={used + left_mib * MIB}")
        else:
            self._limit(writers, left_mib * MIB)

    def grow(self, *writers):
        if self._own:
            assert self._mounted("remount,size=4g")
        else:
            self._limit(writers, resource.RLIM_INFINITY)

    def close(self):
        if self._own:
            subprocess.run(["umount", "-l", self.folder], check=False)

    def _mounted(self, options):
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder]
        return subprocess.run(mount, capture_output=True).returncode == 0

    def _limit(self, writers, size):
        for pid in writers:
            for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """The hub's chunks and the spoke's home, each with little room."""
    folder = tmp_path_factory.mktemp("trouble")
    made = {"hub": Room(folder / "hub" / "chunks"), "web-1": Room(folder / "web-1")}
    yield folder, made
    for room in made.values():
        room.close()


@pytest.fixture(scope="module")
def whole(rooms):
    """A hub of this module's own: its disk gets full, and it is killed."""
    requires("rabbitmq")
    made = Whole(rooms[0])
    try:
        made.install()
        made.start()
        apply(made, "kind: Environment\nname: Test\n")
        made.enrol("web-1", "web", environments=("Test",))
        made.start_spoke("web-1")
        yield made
    finally:
        made.stop()


def tar_of(path, size, seed=1):
    """An archive with one file that does not compress."""
    with tarfile.open(path, "w") as out:
        entry = tarfile.TarInfo("content")
        entry.size = size
        out.addfile(entry, io.BytesIO(random.Random(seed).randbytes(size)))
    return path


def versions(hub, package):
    done = hub.run("manyarm", "package", "list", package, "--json")
    return [version["version"] for version in json.loads(done.stdout)] if done.returncode == 0 else []


# What people type


@pytest.mark.parametrize(
    ("words", "environ", "status", "told"),
    [
        (("deply",), {}, 2, "No such command 'deply'"),
        (("task", "list", "--jsn"), {}, 2, "No such option '--jsn'"),
        (("task", "list"), {"MANYARM_URL": ""}, 2, "which hub? Set MANYARM_URL, or run: manyarm login URL"),
        (("task", "list"), {"MANYARM_API_KEY": ""}, 2, "no API key for http"),
        (("task", "list"), {"MANYARM_URL": "http://127.0.0.1:1"}, 5, "the hub at http://127.0.0.1:1 cannot be reached"),
        (("task", "list"), {"MANYARM_URL": "127.0.0.1:1"}, 2, "expected an address such as https://"),
        (("task", "list"), {"MANYARM_API_KEY": "mak_" + "0" * 61}, 3, "the API key is unknown, revoked or expired"),
        (("release", "list", "Nowhere"), {}, 4, "no project 'Nowhere'"),
        (("release", "create", "Nowhere"), {}, 4, "no project 'Nowhere'"),
        (("deploy", "Nowhere", "--release", "1.0.0", "--to", "Test"), {}, 4, "no project 'Nowhere'"),
        (("task", "show", "0" * 32), {}, 4, "no task"),
        (("run", "--to", "nobody", "--", "true"), {}, 4, "'nobody' is no target, environment or role"),
        (("run", "--to", "web-1"), {}, 2, "what shall run?"),
        (("run", "--to", "web-1", "--shell", "cobol", "--", "true"), {}, 2, "expected one of bash, node, powershell"),
        (("package", "push", "none.1.0.0.zip"), {}, 2, "none.1.0.0.zip: cannot be read"),
        (("package", "push", "/etc/hostname"), {}, 2, "expected a name that ends in one of jar"),
        (("apply", "-f", "none.yaml"), {}, 2, "none.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_its_status(whole, words, environ, status, told):
    assert told in refused(whole, *words, status=status, **environ)


GOOD = "kind: Environment\nname: Never\n---\n"
TYPOS = {
    "unknown key": ("kind: Environment\nname: A\ndescripton: x\n", 6, "descripton"),
    "unknown key deep": ("kind: Lifecycle\nname: L\nphases:\n  - name: P\n    enviroments: [Test]\n", 8, "enviroments"),
    "wrong type": (
        "kind: Lifecycle\nname: L\nphases:\n  - name: P\n    environments: Test\n",
        8,
        "expected a valid list",
    ),
    "unknown kind": ("kind: Enviroment\nname: A\n", 4, "expected one of"),
    "bad indentation": ("kind: Environment\n  name: A\n", 5, "mapping values are not allowed here"),
    "a tab": ("kind: Environment\n\tname: A\n", 5, "found character"),
    "unknown environment": ("kind: Lifecycle\nname: L\nphases:\n  - {name: P, environments: [Nope]}\n", 7, "Nope"),
    "unknown step kind": (
        "kind: Project\nname: P\nprocess:\n  - name: S\n    kind: deploy-pakage\n",
        8,
        "deploy-package",
    ),
    "unknown property": (
        "kind: Project\nname: P\nprocess:\n  - name: S\n    kind: run-script\n    roles: [web]\n    script: x\n    shel: bash\n",
        11,
        "shel",
    ),
}


@pytest.mark.parametrize("typo", TYPOS)
def test_a_typo_in_a_project_file_is_told_with_file_line_and_what_was_expected(whole, typo):
    text, line, told = TYPOS[typo]
    file = whole.folder / "typo.yaml"
    file.write_text(GOOD + text)
    words = refused(whole, "apply", "-f", str(file), status=2)
    assert words.startswith(f"{file}:{line}: "), words
    assert told in words
    # All or nothing: not even the sound document before it was taken.
    file.write_text(GOOD)
    assert whole.manyarm("apply", "--plan", "-f", str(file)).startswith("+ Environment Never")


# Packages


@pytest.mark.parametrize("extension", ["zip", "tar", "tar.gz"])
def test_a_truncated_package_is_refused_and_the_whole_one_is_taken_after_it(whole, tmp_path, extension):
    file = tmp_path / f"cut-{extension.replace('.', '-')}.1.0.0.{extension}"
    content = random.Random(7).randbytes(400_000)
    if extension == "zip":
        with zipfile.ZipFile(file, "w") as out:
            out.writestr("content", content)
    else:
        with tarfile.open(file, "w:gz" if extension == "tar.gz" else "w") as out:
            entry = tarfile.TarInfo("content")
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))
    sound = file.read_bytes()
    package = file.name.split(".")[0]
    file.write_bytes(sound[: len(sound) * 3 // 5])
    words = refused(whole, "package", "push", str(file), status=2)
    assert file.name in words
    assert versions(whole, package) == []
    file.write_bytes(sound)
    whole.manyarm("package", "push", str(file))
    assert versions(whole, package) == ["1.0.0"]


def test_an_upload_that_stops_midway_leaves_nothing_and_may_be_done_again(whole, tmp_path):
    file = tar_of(tmp_path / "midway.1.0.0.tar", 40 * MIB, seed=2)
    content = file.read_bytes()
    api = urlsplit(whole.url)
    connection = http.client.HTTPConnection(api.hostname, api.port, timeout=60)
    connection.putrequest("POST", f"/api/v1/packages?name={file.name}")
    connection.putheader("Authorization", f"Bearer {whole.environ['MANYARM_API_KEY']}")
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Content-Length", str(len(content)))
    connection.endheaders()
    connection.send(content[: len(content) // 2])
    incoming = whole.home / "chunks" / "incoming"
    until(lambda: any(incoming.iterdir()), "the upload did not begin")
    connection.close()
    until(lambda: not any(incoming.iterdir()), "half an upload was kept")
    assert versions(whole, "midway") == []
    whole.manyarm("package", "push", str(file))
    assert versions(whole, "midway") == ["1.0.0"]


# Full disks


def stored(hub):
    return {path.name for path in (hub.home / "chunks").rglob("*") if path.is_file()}


def test_a_full_disk_of_the_hub_refuses_a_push_whole_and_takes_it_when_there_is_room(whole, rooms, tmp_path):
    room = rooms[1]["hub"]
    file = tar_of(tmp_path / "narrow.1.0.0.tar", 10 * MIB)
    room.shrink(6, whole.part("portal"))
    before = stored(whole)
    words = refused(whole, "package", "push", str(file), status=1)
    assert "disk" in words
    assert "push again" in words
    # Without an announced length it is found out in the middle.
    status, told = send_in_pieces(whole, file)
    assert (status, told["code"]) == (507, "BLOB_SPACE")
    assert stored(whole) == before
    assert versions(whole, "narrow") == []
    room.grow(whole.part("portal"))
    whole.manyarm("package", "push", str(file))
    assert versions(whole, "narrow") == ["1.0.0"]


def send_in_pieces(hub, file):
    def pieces():
        with file.open("rb") as stream:
            while piece := stream.read(64 * 1024):
                yield piece

    api = urlsplit(hub.url)
    connection = http.client.HTTPConnection(api.hostname, api.port, timeout=60)
    headers = {"Authorization": f"Bearer {hub.environ['MANYARM_API_KEY']}", "Content-Type": "application/octet-stream"}
    with contextlib.suppress(ConnectionError):
        connection.request("POST", f"/api/v1/packages?name={file.name}", pieces(), headers, encode_chunked=True)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_full_disk_of_the_target_fails_the_step_and_the_retry_succeeds(whole, rooms, tmp_path):
    room = rooms[1]["web-1"]
    if versions(whole, "narrow") == []:
        rooms[1]["hub"].grow(whole.part("portal"))
        whole.manyarm("package", "push", str(tar_of(tmp_path / "narrow.1.0.0.tar", 10 * MIB)))
    assert apply(whole, PROJECT).returncode == 0
    whole.manyarm("release", "create", "Narrow", "--version", "1.0.0")
    spoke = whole._spokes["web-1"].pid
    room.shrink(6, spoke)
    task = whole.json("deploy", "Narrow", "--release", "1.0.0", "--to", "Test", "--json")["task"]
    failed = whole.run("manyarm", "task", "logs", "-f", task)
    assert failed.returncode == 1
    assert "make room on the target" in failed.stdout + failed.stderr
    room.grow(spoke)
    again = whole.manyarm("task", "retry", task).strip()
    whole.manyarm("task", "logs", "-f", again)
    assert (whole.spoke_home("web-1") / "sites/narrow/current/content").stat().st_size == 10 * MIB


# Interrupted


def test_ctrl_c_while_following_leaves_the_task_and_says_how_to_cancel_it(whole):
    command = [BIN / "manyarm", "run", "--to", "web-1", "--", "echo begun; sleep 120"]
    with subprocess.Popen(
        command, env=whole.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert any("begun" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    found = re.fullmatch(r"\s*left; task (\w{32}) goes on. To end it: manyarm task cancel (\w{32})\s*", told)
    assert found, told
    assert whole.json("task", "show", found[1], "--json")["state"] == "running"
    cancelled = whole.run("manyarm", "task", "cancel", "--watch", found[2])
    assert "cancelled" in cancelled.stdout
    assert whole.json("task", "show", found[1], "--json")["state"] == "cancelled"


def test_a_second_up_names_the_portal_and_changes_nothing(whole):
    parts = {name: whole.part(name) for name in ("hub", "portal", "gateway")}
    said = whole.manyarm("up")
    assert said == f"Manyarm runs here already: {whole.url}\n"
    assert {name: whole.part(name) for name in parts} == parts


@pytest.mark.parametrize("part", ["portal", "gateway"])
def test_a_part_that_was_killed_is_served_again(whole, part):
    killed = whole.part(part)
    os.kill(killed, signal.SIGKILL)
    until(lambda: whole.part(part) != killed, "it was not started again")
    until(lambda: whole.run("manyarm", "task", "list").returncode == 0, "the portal does not answer")
    until(lambda: "ok     gateway: " in whole.run("manyarm", "doctor").stdout, "the gateway does not answer")


def test_after_a_kill_of_up_itself_the_next_up_finds_the_broker_and_leaves_no_stranger(whole):
    parts = [mark(whole.part(name)) for name in ("hub", "portal", "gateway")]
    broker = whole.broker_pid()
    whole._up.kill()
    whole._up.wait()
    # A part that does not notice, as one would that hangs: the next start ends it.
    os.kill(parts[1].pid, signal.SIGSTOP)
    (whole.folder / "up.log").unlink()
    whole.start()
    assert not any(is_alive(part) for part in parts)
    assert whole.broker_pid() == broker, "the broker goes on with its messages"
    whole.until_healthy("web-1")
    whole.manyarm("run", "--to", "web-1", "--", "true")


def test_a_stop_leaves_nothing_behind(whole):
    marks = [mark(whole.part(name)) for name in ("hub", "portal", "gateway")] + [mark(whole.broker_pid())]
    whole.stop()
    assert whole._up.returncode == 0
    assert all(wait_gone(one, 20) for one in marks)
    assert not (whole.home / "run" / "state.json").exists()
