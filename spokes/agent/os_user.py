"""Becomes another OS user for good: what then runs here reaches what that user may reach, and nothing of ours.

The interpreter and our own files may lie where that user cannot read them, so everything is imported before.
"""

import contextlib
import ctypes
import importlib
import os
import pkgutil
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spokes.agent.errors import HomeUnsafe, NoSuchUser
from spokes.agent.platform_facts import software

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_ROOMS = ("config", "wire", "spokes.agent")
# What the standard library and the libraries beneath us import only when it is first needed.
_IMPORTED_LATE = (
    "concurrent.futures.thread",
    "email.header",
    "encodings.ascii",
    "encodings.cp437",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.punycode",
    "encodings.unicode_escape",
    "http.client",
    "multiprocessing",
    "stringprep",
    "traceback",
)
_OLDEST_PYTHON = (3, 9)
_NEWEST_MINOR = 20
_ASK_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True, slots=True)
class OsUser:
    name: str
    uid: int
    gid: int


def find_or_make(name: str) -> OsUser:
    """The system user of that name, made if there is none.

    Raises:
        NoSuchUser: There is none, and none can be made here; says what to do.
    """
    for may_make in (True, False):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return OsUser(name, found.pw_uid, found.pw_gid)
        if may_make:
            _make(name)
    raise NoSuchUser(f"the system has no user {name}, and it could not be made: run useradd --system {name}")


def give_home(home: Path, user: OsUser) -> None:
    """Make the home, 0700 and that user's own; folders above it that are missing can be passed by everybody.

    Raises:
        HomeUnsafe: Something else is there, or it belongs to somebody else.
    """
    for folder in reversed(home.parents):
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(0o711)
    with contextlib.suppress(FileExistsError):
        home.mkdir(mode=0o700)
    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise HomeUnsafe(f"{home} is no folder ({error.strerror}); move it away") from error
    try:
        found = os.fstat(descriptor)
        if found.st_uid not in {0, user.uid} or stat.S_IMODE(found.st_mode) & 0o022:
            raise HomeUnsafe(f"{home} belongs to somebody else than {user.name}, or others may change it; move it away")
        if found.st_uid != user.uid and not _is_a_home(os.listdir(descriptor)):  # noqa: PTH208  Of this very folder.
            raise HomeUnsafe(f"{home} holds other things than a spoke's: name a folder that {user.name} may have alone")
        os.fchown(descriptor, user.uid, user.gid)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def import_everything(modules: Iterable[str] = ()) -> None:
    """Import whatever may be needed later, and `modules`."""
    for room in _ROOMS:
        package = importlib.import_module(room)
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            importlib.import_module(found.name)
    for name in (*_IMPORTED_LATE, *modules):
        importlib.import_module(name)
    software()


def become(user: OsUser, home: Path) -> None:
    """Give up root for good; no program started from here gets any right back.

    Raises:
        HomeUnsafe: That user cannot reach the home.
    """
    os.setgroups([])
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    if os.getresuid() != (user.uid,) * 3 or os.getresgid() != (user.gid,) * 3:
        raise HomeUnsafe(f"this process could not become {user.name}")
    keep_to_itself()
    os.umask(0o077)
    os.environ |= {"HOME": str(home), "USER": user.name, "LOGNAME": user.name}
    try:
        os.chdir(home)
    except PermissionError as error:
        raise HomeUnsafe(
            f"{user.name} cannot reach {home}: give MANYARM_LOCAL_HOME a folder whose parents it may pass (mode 0711)"
        ) from error


def keep_to_itself() -> None:
    """No other process of this user reads our memory or environment, and none of ours gains rights by a program."""
    if sys.platform == "linux":
        # Best effort: some containers forbid it.
        with contextlib.suppress(OSError, AttributeError):
            prctl = ctypes.CDLL(None, use_errno=True).prctl
            prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
            prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def first_python() -> str:
    """The first Python on the path that is new enough and that this user may run; "" where there is none."""
    names = ["python3", *(f"python3.{minor}" for minor in range(_NEWEST_MINOR, _OLDEST_PYTHON[1] - 1, -1))]
    for name in names:
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            found = shutil.which(name, path=folder)
            if found and _is_new_enough(found):
                return found
    return ""


def _is_a_home(names: Iterable[str]) -> bool:
    """Empty but for the join code that the engine leaves, or a home already: a slip must not give away /srv."""
    found = set(names)
    return "identity" in found or all(name.startswith(("join", ".join.")) for name in found)


def _is_new_enough(python: str) -> bool:
    try:
        ran = subprocess.run(
            [python, "-I", "-S", "-c", _ASK_VERSION],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    major, _, minor = ran.stdout.strip().partition(".")
    return ran.returncode == 0 and minor.isdigit() and (int(major), int(minor)) >= _OLDEST_PYTHON


def _make(name: str) -> None:
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return
    words = ["--system", "--user-group", "--no-create-home", "--home-dir", "/var/lib/manyarm-local"]
    subprocess.run(
        [program, *words, "--shell", "/usr/sbin/nologin", name],
        capture_output=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
