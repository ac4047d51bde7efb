"""What an ssh spoke runs on a target: comes over the connection, lies on no disk, leaves with the connection.

    frame = u32be bytes of JSON | u32be bytes of body | JSON | body          both ways, many requests at a time
    {"id": 7, "do": "list", …}  ->  {"id": 7, …}  or  {"id": 7, "fault": "full", "text": "…"}

Python's own library from 3.9 on, and nothing else. It acts in one folder, the spoke's home on the target, and starts
supervisors so that they outlive it: each in a session of its own, its secrets on its standard input alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import platform
import resource
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
import zlib
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple

_HEAD = struct.Struct(">II")
_FOLDERS = ("jobs", "chunks", "packages", "runners", "locks", "applications", "run")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
_OUTCOME_MAX = 8 * 1024 * 1024
_OLD_S = 3600
_RESTED_NS = 2 * 10**9
_LOOK_EVERY_S = 0.01
# Whatever forks while we look is found by the next look.
_LOOKS, _BETWEEN_LOOKS_S = 20, 0.02
_IN_MODIFY, _IN_MOVED_TO = 0x2, 0x80
_STARTED, _JOB = "started", "job.json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Fault(Exception):
    """What the other side must know: a word for its program, a sentence for its people."""

    def __init__(self, word: str, text: str, **more: Any) -> None:
        super().__init__(text)
        self.word = word
        self.more = more


class Hand:
    """One home, asked by many threads."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._children: List[subprocess.Popen[bytes]] = []
        self._watches: Dict[str, Watch] = {}
        self._lock = threading.Lock()
        self._waiting: Optional[Standby] = None
        self._closed = False
        self._digests = b""
        self._known = KnownFiles()

    @classmethod
    def open(cls, request: Dict[str, Any]) -> Hand:
        """Make the home, or refuse one that others could have laid out."""
        named = request["home"] or "~/.manyarm"
        home = os.path.abspath(os.path.expanduser(named))
        if not home.startswith("/") or "~" in home:
            raise Fault("home", "this user has no home directory on the target; name one in the target's settings")
        try:
            os.makedirs(home, mode=0o700, exist_ok=True)
            _refuse_shared(home)
            for name in _FOLDERS:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(os.path.join(home, name), 0o700)
                _refuse_shared(os.path.join(home, name))
            probe = os.path.join(home, "run", ".probe-%d" % os.getpid())
            os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
            os.unlink(probe)
        except OSError as error:
            if error.errno in _FULL:
                raise Fault("full", "the disk of %s is full" % home) from error
            raise Fault("home", "%s cannot be written: %s" % (home, error.strerror)) from error
        hand = cls(home)
        hand._remove_leftovers()
        return hand

    def facts(self, _: Dict[str, Any], __: bytes) -> Tuple[Dict[str, Any], bytes]:
        name = os.uname()
        return {
            "home": self._home,
            "python": platform.python_version(),
            "interpreter": sys.executable,
            "system": name.sysname,
            "release": name.release,
            "machine": name.machine,
            "hostname": name.nodename,
            "uid": os.geteuid(),
            "boot": _boot_id(),
            "free": shutil.disk_usage(self._home).free,
        }, b""

    def run(self, request: Dict[str, Any], _: bytes) -> Tuple[Dict[str, Any], bytes]:
        """A short program to its end."""
        try:
            done = subprocess.run(
                request["argv"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(),
                timeout=request["timeout"],
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"code": 127}, str(error).encode()
        return {"code": done.returncode}, done.stdout

    def put(self, request: Dict[str, Any], body: bytes) -> Tuple[Dict[str, Any], bytes]:
        """Write files privately, each whole or not at all."""
        folder = self._place(request["folder"])
        os.makedirs(folder, mode=0o700, exist_ok=True)
        at, view = 0, memoryview(body)
        for name, size, is_packed in request["files"]:
            path = os.path.join(folder, _inside(name))
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            content = view[at : at + size]
            _write(path, [zlib.decompress(content) if is_packed else content], durable=request["durable"])
            at += size
        return {}, b""

    def list(self, request: Dict[str, Any], body: bytes) -> Tuple[Dict[str, Any], bytes]:
        """The files there: [name, size, sha256, time]; the names asked for come as the body."""
        folder = self._place(request["folder"])
        if request["names"] == "digests":
            return {}, _packed([_looked_at(os.path.join(folder, name)) for name in self._names("digests", body)])
        names = self._names(request["names"], body) if request["names"] else _names_in(folder)
        found = []
        for name in names:
            path = os.path.join(folder, _inside(name))
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode):
                    digest = _digest(path) if request["hashed"] else ""
                    found.append([name, status.st_size, digest, int(status.st_mtime)])
        return {}, json.dumps(found).encode()

    def concatenate(self, request: Dict[str, Any], body: bytes) -> Tuple[Dict[str, Any], bytes]:
        """Join chunks to one file, each compared with its name, all of them with their digest."""
        path = self._place(request["to"])
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        joined = Joined(self._place("chunks"), self._names(request["names"], body))
        temporary = os.path.join(os.path.dirname(path), ".%s.part" % os.path.basename(path))
        try:
            _write(temporary, joined, durable=True)
            if joined.damaged:
                raise Fault("damaged", "chunks are missing or damaged", names=joined.damaged)
            if joined.whole.hexdigest() != request["sha256"]:
                raise Fault("hash", "every chunk is sound, but together they are not what was announced")
            os.rename(temporary, path)
            _sync_folder(os.path.dirname(path))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        return {"size": joined.size, "sha256": joined.whole.hexdigest()}, b""

    def _names(self, how: str, body: bytes) -> List[str]:
        """As JSON; as digests of 32 bytes each; or `same`, the digests of the last time, for they are many."""
        if how == "json":
            found: List[str] = json.loads(body)
            return found
        if how == "digests":
            self._digests = body
        elif hashlib.sha256(self._digests).digest() != body:
            raise Fault("forgotten", "the names were not told here")
        return [self._digests[at : at + 32].hex() for at in range(0, len(self._digests), 32)]

    def remove(self, request: Dict[str, Any], _: bytes) -> Tuple[Dict[str, Any], bytes]:
        for name in request["paths"]:
            path = self._place(name)
            if os.path.isdir(path) and not os.path.islink(path):
                _open_for_removal(path)
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        return {}, b""

    def read(self, request: Dict[str, Any], _: bytes) -> Tuple[Dict[str, Any], bytes]:
        """A piece of a plain file."""
        descriptor = os.open(self._place(request["path"]), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return {}, os.pread(descriptor, request["size"], request["offset"])
        finally:
            os.close(descriptor)

    def start(self, request: Dict[str, Any], body: bytes) -> Tuple[Dict[str, Any], bytes]:
        """Lay the job out, compare it and the runner with what was sent, and start the supervisor: at most once,
        whoever asks again. The body is the job's file and behind it the supervisor's line.
        """
        folder = self._place(request["folder"])
        runner = self._place(request["runner"])
        if os.path.lexists(os.path.join(folder, _STARTED)):
            return {"fresh": False}, b""
        if request["boot"] != _boot_id():
            # The mark of an earlier start may have been lost with what else was not on the disk yet.
            raise Fault("boot", "the machine was started anew while the job was being started")
        if _tree(runner, self._known.digest) != request["tree"]:
            raise Fault("runner", "the runner on the target is not the one that was put there")
        size, is_packed = request["file"]
        job, line = body[:size], body[size:]
        os.makedirs(folder, mode=0o700, exist_ok=True)
        # Not durable: after a power cut nobody knows what has run in any case.
        _write(os.path.join(folder, _JOB), [zlib.decompress(job) if is_packed else job], durable=False)
        if _digest(os.path.join(folder, _JOB)) != request["job"]:
            raise Fault("runner", "the job on the target is not the one that was sent there")
        try:
            os.close(os.open(os.path.join(folder, _STARTED), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return {"fresh": False}, b""
        waiting = self._take(runner)
        if waiting is None or not waiting.become(folder, line):
            self._start_cold(runner, folder, line)
        if request["standby"]:
            threading.Thread(target=self._make_waiting, args=(runner,), daemon=True).start()
        return {"fresh": True}, b""

    def watch(self, request: Dict[str, Any], _: bytes) -> Tuple[Dict[str, Any], bytes]:
        """What is new in a job's folder, at the latest after the time given."""
        cid = request["cid"]
        with self._lock:
            watch = self._watches.get(cid)
            if watch is None:
                watch = self._watches[cid] = Watch(self._place("jobs/" + _inside(cid)))
        return watch.look(request["offset"], request["size"], request["wait"], request["outcome"])

    def unwatch(self, request: Dict[str, Any], _: bytes) -> Tuple[Dict[str, Any], bytes]:
        with self._lock:
            watch = self._watches.pop(request["cid"], None)
        if watch is not None:
            watch.close()
        return {}, b""

    def end(self, request: Dict[str, Any], _: bytes) -> Tuple[Dict[str, Any], bytes]:
        """Kill what a dead supervisor has left behind."""
        cid = _inside(request["cid"])
        leader = _supervisor(self._place("jobs/" + cid))
        return {"count": 0 if leader is None else _end_job(leader, cid)}, b""

    def close(self) -> None:
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.dismiss()

    def _place(self, name: str) -> str:
        return os.path.join(self._home, _inside(name))

    def _remove_leftovers(self) -> None:
        """What a hand that was cut off had begun to write."""
        old = time.time() - _OLD_S
        for name in ("chunks", "packages", "run"):
            folder = os.path.join(self._home, name)
            for entry in os.scandir(folder):
                is_ours = entry.name.startswith((".", "standby-"))
                with contextlib.suppress(OSError):
                    if is_ours and entry.stat(follow_symlinks=False).st_mtime < old:
                        os.unlink(entry.path)

    def _take(self, runner: str) -> Optional[Standby]:
        with self._lock:
            self._children = [child for child in self._children if child.poll() is None]
            waiting = self._waiting
            if waiting is None or waiting.runner != runner:
                return None
            self._waiting = None
            return waiting

    def _start_cold(self, runner: str, folder: str, line: bytes) -> None:
        child = self._spawn([runner, "supervise", folder], folder, os.path.join(folder, "supervisor.err"))
        if not _give(child, line):
            raise Fault("start", "the supervisor ended before it took its job")

    def _make_waiting(self, runner: str) -> None:
        # An interpreter that starts takes a core from the job that has just begun.
        time.sleep(0.05)
        with self._lock:
            if self._closed or (self._waiting is not None and self._waiting.runner == runner):
                return
        folder = os.path.join(self._home, "run")
        errors = os.path.join(folder, "standby-%s.err" % os.urandom(8).hex())
        try:
            made = Standby(runner, self._spawn([runner, "standby"], folder, errors), errors)
        except (OSError, Fault):
            return
        with self._lock:
            surplus = made if self._closed else self._waiting
            self._waiting = None if self._closed else made
        if surplus is not None:
            surplus.dismiss()

    def _spawn(self, arguments: List[str], folder: str, errors_path: str) -> subprocess.Popen[bytes]:
        descriptor = os.open(errors_path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=descriptor,
                cwd=folder,
                env=_environment(),
                start_new_session=True,
                close_fds=True,
            )
        except OSError as error:
            raise Fault("start", "%s could not be started: %s" % (sys.executable, error)) from error
        finally:
            os.close(descriptor)
        with self._lock:
            self._children.append(child)
        return child


class Standby:
    """A supervisor that has imported everything and read nothing; used once."""

    def __init__(self, runner: str, child: subprocess.Popen[bytes], errors: str) -> None:
        self.runner = runner
        self._child = child
        self._errors = errors

    def become(self, folder: str, line: bytes) -> bool:
        if self._child.poll() is not None:
            return False
        with contextlib.suppress(OSError):
            os.rename(self._errors, os.path.join(folder, "supervisor.err"))
        return _give(self._child, b'{"folder":' + json.dumps(folder).encode() + b"," + line.lstrip()[1:])

    def dismiss(self) -> None:
        _shut(self._child)
        with contextlib.suppress(OSError):
            os.unlink(self._errors)


class KnownFiles:
    """Digests of files that the kernel says nobody has touched since they were read: looked at each time, read once."""

    def __init__(self) -> None:
        self._digests: Dict[str, Tuple[Tuple[int, ...], str]] = {}

    def digest(self, path: str, status: os.stat_result) -> str:
        before = self._mark(status)
        known = self._digests.get(path)
        if known is not None and known[0] == before:
            return known[1]
        found = _digest(path)
        # A change in the same tick of the clock as our reading would not be seen: only what has rested is remembered.
        if time.time_ns() - status.st_ctime_ns > _RESTED_NS and self._mark(os.lstat(path)) == before:
            self._digests[path] = before, found
        return found

    @staticmethod
    def _mark(status: os.stat_result) -> Tuple[int, ...]:
        """Whatever is done to a file moves the last of these, which nobody but the kernel writes."""
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Joined:
    """The bytes of chunks in order; knows which were missing or not what their names say."""

    def __init__(self, folder: str, names: List[str]) -> None:
        self._folder = folder
        self._names = names
        self.whole = hashlib.sha256()
        self.size = 0
        self.damaged: List[str] = []

    def __iter__(self) -> Iterator[bytes]:
        old = time.time() - _OLD_S
        for name in self._names:
            path = os.path.join(self._folder, _inside(name))
            try:
                with open(path, "rb") as file:
                    content = file.read()
                    used_at = os.fstat(file.fileno()).st_mtime
            except FileNotFoundError:
                self.damaged.append(name)
                continue
            if hashlib.sha256(content).hexdigest() != name:
                self.damaged.append(name)
                os.unlink(path)
                continue
            if used_at < old:
                os.utime(path)
            self.whole.update(content)
            self.size += len(content)
            yield content


class Watch:
    """One job's folder; asked by one thread at a time."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._inotify = _inotify_on(folder)
        self._poll = select.poll()
        if self._inotify is not None:
            self._poll.register(self._inotify, select.POLLIN)
        self._closed = False

    def look(self, offset: int, size: int, wait_s: float, with_outcome: bool) -> Tuple[Dict[str, Any], bytes]:
        ends = time.monotonic() + wait_s
        while True:
            # In this order: who has ended has written its outcome, and before the outcome all of the spool.
            supervisor = _alive(_supervisor(self._folder))
            outcome = _content(os.path.join(self._folder, "outcome.json"), _OUTCOME_MAX) if with_outcome else None
            spool = self._spool(offset, size)
            left_s = ends - time.monotonic()
            if spool or outcome is not None or supervisor == "dead" or left_s <= 0 or self._closed:
                break
            self._wait(left_s)
        shown = {"supervisor": supervisor, "spool": len(spool), "outcome": outcome is not None}
        return shown, spool + (outcome or b"")

    def close(self) -> None:
        self._closed = True

    def __del__(self) -> None:
        if self._inotify is not None:
            os.close(self._inotify)

    def _spool(self, offset: int, size: int) -> bytes:
        try:
            descriptor = os.open(os.path.join(self._folder, "output"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def _wait(self, left_s: float) -> None:
        """Until something may have changed; that a supervisor has died is seen within a second."""
        if self._inotify is None:
            time.sleep(min(left_s, _LOOK_EVERY_S))
            return
        self._poll.poll(min(left_s, 1.0) * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._inotify, 65536)


def serve() -> None:
    """Answer until the connection ends; the first request names the home."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pen = threading.Lock()
    hand: Optional[Hand] = None
    for request, body in _requests():
        if hand is None:
            hand = _opened(request, pen)
        elif request["do"] == "put":
            # Here and now: so a fast sender waits, and nothing piles up.
            _answer(hand.put, request, body, pen)
        else:
            act: Callable[..., Tuple[Dict[str, Any], bytes]] = getattr(hand, request["do"])
            threading.Thread(target=_answer, args=(act, request, body, pen), daemon=True).start()
    if hand is not None:
        hand.close()
    os._exit(0)


def _requests() -> Iterator[Tuple[Dict[str, Any], bytes]]:
    """Until the input ends; one that was cut off in the middle is none."""
    # The stream that our own text came from: it may hold what came behind that already.
    stream = sys.stdin.buffer
    while True:
        head = stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        request_size, body_size = _HEAD.unpack(head)
        request, body = stream.read(request_size), stream.read(body_size)
        if len(request) + len(body) < request_size + body_size:
            return
        yield json.loads(request), body


def _opened(request: Dict[str, Any], pen: Any) -> Optional[Hand]:
    try:
        hand = Hand.open(request)
    except Fault as fault:
        _say({"id": request["id"], "fault": fault.word, "text": str(fault)}, b"", pen)
        return None
    _answer(hand.facts, request, b"", pen)
    return hand


def _answer(act: Callable[..., Tuple[Dict[str, Any], bytes]], request: Dict[str, Any], body: bytes, pen: Any) -> None:
    try:
        shown, content = act(request, body)
    except Fault as fault:
        shown, content = {"fault": fault.word, "text": str(fault), **fault.more}, b""
    except OSError as error:
        word = "full" if error.errno in _FULL else "system"
        shown, content = {"fault": word, "text": str(error), "errno": error.errno}, b""
    except Exception as error:  # noqa: BLE001  Said to the one who asked; the hand goes on.
        shown, content = {"fault": "system", "text": "%s: %s" % (type(error).__name__, error)}, b""
    _say({"id": request["id"], **shown}, content, pen)


def _say(shown: Dict[str, Any], content: bytes, pen: Any) -> None:
    text = json.dumps(shown).encode()
    with pen:
        for piece in (_HEAD.pack(len(text), len(content)) + text, content):
            view = memoryview(piece)
            while view:
                view = view[os.write(1, view) :]


def _inside(name: str) -> str:
    """Paths are made of the spoke's own ids; this says so once more before anything is touched."""
    if not name or name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise Fault("system", "%r does not lie inside the home" % name)
    return name


def _refuse_shared(folder: str) -> None:
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        raise Fault("home", "%s is no folder of its own; find out who made it" % folder)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise Fault("home", "%s belongs to another user or can be changed by others; expected mode 0700" % folder)


def _write(path: str, pieces: Any, durable: bool) -> None:
    temporary = os.path.join(os.path.dirname(path), ".%s.%s" % (os.path.basename(path), os.urandom(8).hex()))
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[os.write(descriptor, view) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        _sync_folder(os.path.dirname(path))


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _looked_at(path: str) -> Tuple[int, int]:
    """Size and time of a plain file; (0, 0) if there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and status.st_size < 1 << 32:
            return status.st_size, int(status.st_mtime)
    return 0, 0


def _packed(found: List[Tuple[int, int]]) -> bytes:
    """In the order of the names asked for: all sizes, then all times, 0 for what is not there; they are many."""
    columns = [size for size, _ in found] + [used_at for _, used_at in found]
    return zlib.compress(struct.pack(">%dI" % len(columns), *columns), 6)


def _names_in(folder: str) -> Iterator[str]:
    """Files that are whole: what is being written has a name that begins with a dot."""
    for place, _, names in os.walk(folder):
        for name in names:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)


def _tree(folder: str, digest: Callable[[str, os.stat_result], str]) -> str:
    """The digest of all files of a folder; of one that holds anything but files and folders, none."""
    text, inner = [], [""]
    try:
        while inner:
            place = inner.pop()
            for entry in os.scandir(os.path.join(folder, place)):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    inner.append(place + entry.name + "/")
                elif entry.name.startswith(".") or not stat.S_ISREG(status.st_mode):
                    return ""
                else:
                    text.append("%s\0%s\n" % (place + entry.name, digest(entry.path, status)))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return hashlib.sha256("".join(sorted(text)).encode()).hexdigest()


def _digest(path: str) -> str:
    whole = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while True:
            piece = file.read(1024 * 1024)
            if not piece:
                return whole.hexdigest()
            whole.update(piece)


def _open_for_removal(folder: str) -> None:
    """Folders that nobody may write to (an installed runner) cannot be emptied, not even by their owner."""
    for place, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(place, 0o700)


def _environment() -> Dict[str, str]:
    return {"PATH": _PATH, "LANG": "C.UTF-8", **{name: os.environ[name] for name in _PASSED_ON if name in os.environ}}


def _give(child: subprocess.Popen[bytes], line: bytes) -> bool:
    """A line that was taken only in part is not JSON and starts nothing."""
    try:
        child.stdin.write(line)  # type: ignore[union-attr]  # It was asked for.
        child.stdin.close()  # type: ignore[union-attr]  # As above.
    except OSError:
        _shut(child)
        return False
    return True


def _shut(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        child.stdin.close()  # type: ignore[union-attr]  # As above.


def _content(path: str, most: int) -> Optional[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most)


def _supervisor(folder: str) -> Optional[Tuple[int, int, str]]:
    """Who wrote that it supervises this folder: pid, start time, boot."""
    content = _content(os.path.join(folder, "supervisor"), 4096)
    try:
        found = json.loads(content or b"")
        return int(found["pid"]), int(found["start_time"]), str(found["boot_id"])
    except (ValueError, KeyError, TypeError):
        return None


def _alive(name: Optional[Tuple[int, int, str]]) -> str:
    """none: nobody has said so yet."""
    if name is None:
        return "none"
    pid, start_time, boot = name
    if pid <= 1 or boot != _boot_id():
        return "dead"
    if not start_time:
        return "alive" if _answers(pid) else "dead"
    fields = _stat(pid)
    return "alive" if fields and fields[0] not in ("Z", "X") and int(fields[19]) == start_time else "dead"


def _answers(pid: int) -> bool:
    """For systems without /proc, where a name is a number alone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _end_job(leader: Tuple[int, int, str], cid: str) -> int:
    """KILL what is of a dead supervisor's session, or marked as its job's, or below such; but nothing of ourselves."""
    pid, start_time, boot = leader
    if boot != _boot_id() or pid <= 1 or not start_time:
        return 0
    ended = set()
    for _ in range(_LOOKS):
        left = _left_behind(pid, start_time, b"MANYARM_JOB=" + cid.encode())
        if not left:
            break
        for other in left:
            with contextlib.suppress(OSError):
                os.kill(other, signal.SIGKILL)
                ended.add(other)
        time.sleep(_BETWEEN_LOOKS_S)
    return len(ended)


def _left_behind(leader: int, since: int, mark: bytes) -> Set[int]:
    # While a session has members the kernel gives its leader's number to nobody: another's pid means that none is left.
    holder = _stat(leader)
    is_theirs = holder is None or int(holder[19]) == since
    children: Dict[int, List[int]] = {}
    waiting = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        fields = _stat(pid)
        if fields is None or fields[0] in ("Z", "X"):
            continue
        children.setdefault(int(fields[1]), []).append(pid)
        if int(fields[19]) >= since and ((is_theirs and int(fields[3]) == leader) or mark in _marks(pid)):
            waiting.append(pid)
    found: Set[int] = set()
    while waiting:
        pid = waiting.pop()
        if pid not in found and pid != os.getpid():
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def _marks(pid: int) -> List[bytes]:
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _boot_id() -> str:
    return (_content("/proc/sys/kernel/random/boot_id", 100) or b"").decode("ascii").strip()


def _stat(pid: int) -> Optional[List[str]]:
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    return text[text.rindex(")") + 1 :].split()


def _inotify_on(folder: str) -> Optional[int]:
    """None where the system has none; then the folder is looked at now and again."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        descriptor = int(library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if descriptor < 0:
            return None
        if library.inotify_add_watch(descriptor, os.fsencode(folder), _IN_MODIFY | _IN_MOVED_TO) < 0:
            os.close(descriptor)
            return None
    except (OSError, AttributeError):
        return None
    return descriptor


if __name__ == "__main__":
    serve()
