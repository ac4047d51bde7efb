"""The master key: made once, read at start from the source that the settings name, checked against what the data needs.

Sources, one or several separated by commas, tried in that order: `file:PATH`, `systemd-credential:NAME`, `passphrase`
(or `passphrase:PATH` of its salt), `env:NAME`, `exec:/PROGRAM` (called with `wrap` or `unwrap`, key on its standard
input and output). The key itself is written as 64 hex characters; the recovery string is taken wherever a key is.
"""

import base64
import binascii
import getpass
import hashlib
import json
import logging
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import nacl.exceptions
import nacl.pwhash

from hub.errors import Invalid, KeyringDamaged, MasterKeyExposed, MasterKeyMissing
from hub.storage.vault import KEY_SIZE, Kek, ProcessClass, key_check

logger = logging.getLogger(__name__)

PASSPHRASE_FD = "MANYARM_PASSPHRASE_FD"  # noqa: S105  The name of a variable.
PASSPHRASE_LEAST = 15

_RECOVERY_MARK = "mrk1"
_HEX = re.compile(r"[0-9a-f]{64}")
_HOOK_TIMEOUT_S = 60
_FILE_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class PassphraseCost:
    """What a guess costs; written beside the salt, so it may grow."""

    ops: int = 3
    memory_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class MasterKey:
    """32 bytes from which all else at rest is opened; its repr shows the id alone."""

    key: bytes = field(repr=False)
    check: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "check", key_check(self.key))

    @classmethod
    def create(cls, source: str, home: Path, cost: PassphraseCost | None = None) -> tuple[Self, str]:
        """Make the key of a new hub and put it where the first source says.

        Sources that we cannot write (a credential, the environment) must hold a key already, which is then used.

        Returns:
            The key, and its recovery string, to be shown once.
        """
        kind, _, rest = _sources(source)[0].partition(":")
        made = cls(_CREATE[kind](rest, home, cost or PassphraseCost()))
        return made, made.recovery_string()

    @classmethod
    def read(cls, source: str, home: Path) -> Self:
        """The key from the first source that has one; each that has none is named in the log.

        Raises:
            MasterKeyMissing: none of them has one.
            MasterKeyExposed: others could read or change it, or it lies inside the home.
            KeyringDamaged: what is there is no key.
        """
        missing: list[str] = []
        for one in _sources(source):
            kind, _, rest = one.partition(":")
            try:
                return cls(_READ[kind](rest, home))
            except MasterKeyMissing as error:
                logger.warning("master key source has none", extra={"source": one, "reason": error.detail})
                missing.append(error.detail)
        raise MasterKeyMissing("; ".join(missing))

    @classmethod
    def from_text(cls, text: str, where: str = "the text given") -> Self:
        """From 64 hex characters or a recovery string."""
        return cls(_parse(text, where))

    @property
    def id(self) -> str:
        """How people tell keys apart."""
        return self.check[:8]

    def kek(self, process_class: ProcessClass | str) -> Kek:
        return Kek.derive(self.key, process_class, self.check)

    def recovery_string(self) -> str:
        """The key as groups of letters and digits to write down; typing errors die at its checksum."""
        letters = _letters(self.key + _checksum(self.key))
        return "-".join([_RECOVERY_MARK, *(letters[at : at + 4] for at in range(0, len(letters), 4))])


def write_kek(kek: Kek, path: Path) -> None:
    """A key file for a portal or gateway on another machine: it opens what that class opens, and nothing else."""
    write_private(path, json.dumps({"class": kek.cls, "kek": kek.key.hex(), "mk_check": kek.mk_check}) + "\n")


def read_kek(source: Path | str, home: Path) -> Kek:
    """The key of such a file, which must be as private as a master key, or of `systemd-credential:NAME`."""
    kind, _, name = str(source).partition(":")
    try:
        text = _credential(name) if kind == "systemd-credential" else read_private(Path(source), home)
        given = json.loads(text)
        return Kek(ProcessClass(given["class"]), _parse(given["kek"], str(source)), str(given["mk_check"]))
    except (ValueError, KeyError, TypeError) as error:
        raise KeyringDamaged(f"{source}: it is no key file as `manyarm key issue` writes them") from error


def first_source(source: str) -> str:
    """Where a key of ours is made."""
    return _sources(source)[0]


def key_path(source: str, home: Path) -> Path | None:
    """The file that we wrote for the first source, which is the key or what makes one of a passphrase; else None."""
    kind, _, rest = first_source(source).partition(":")
    return Path(rest) if kind == "file" else _salt_path(rest, home) if kind == "passphrase" else None


def read_private(path: Path, home: Path) -> str:
    """The text of a file that only we can read and change.

    Raises:
        MasterKeyMissing: there is no such file.
        MasterKeyExposed: it is a link, has another owner, can be read by others, or lies in the home.
    """
    _refuse_inside(path, home)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MasterKeyMissing(f"there is no key file {path}") from error
    except OSError as error:
        raise MasterKeyExposed(f"{path}: expected a regular file that we can read: {error.strerror}") from error
    try:
        _refuse_shared(path, os.fstat(descriptor))
        content = os.read(descriptor, _FILE_MAX)
    finally:
        os.close(descriptor)
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise KeyringDamaged(f"{path}: it holds no key: expected text") from error


def _refuse_shared(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise MasterKeyExposed(f"{path}: expected a regular file")
    if found.st_uid not in {os.geteuid(), 0}:
        raise MasterKeyExposed(f"{path}: it belongs to user {found.st_uid}, expected {os.geteuid()}")
    if found.st_mode & 0o077:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise MasterKeyExposed(f"{path}: its mode is {mode}, others can read or change it: chmod 600 {path}")


def _sources(source: str) -> list[str]:
    given = [one.strip() for one in source.split(",") if one.strip()]
    for one in given:
        kind, colon, rest = one.partition(":")
        if kind not in _READ or (kind != "passphrase" and not (colon and rest)):
            raise Invalid(
                f"master key source {one!r}: expected file:PATH, systemd-credential:NAME, passphrase, env:NAME or "
                "exec:/PROGRAM",
                field="master_key",
            )
    if not given:
        raise Invalid("there is no master key source", field="master_key")
    return given


def _create_file(rest: str, home: Path, _cost: PassphraseCost) -> bytes:
    path = Path(rest)
    _refuse_inside(path, home)
    key = os.urandom(KEY_SIZE)
    write_private(path, key.hex() + "\n")
    return key


def _read_file(rest: str, home: Path) -> bytes:
    return _parse(read_private(Path(rest), home), rest)


def _read_credential(rest: str, _home: Path) -> bytes:
    return _parse(_credential(rest), f"systemd credential {rest}")


def _credential(rest: str) -> str:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        raise MasterKeyMissing(f"systemd gave no credentials (wanted {rest})")
    if "/" in rest or rest.startswith("."):
        raise Invalid(f"systemd credential {rest!r}: expected a plain name", field="master_key")
    try:
        # The folder is systemd's: readable by this service alone, whatever the modes say.
        return (Path(folder) / rest).read_text("ascii")
    except FileNotFoundError as error:
        raise MasterKeyMissing(f"systemd gave no credential {rest}") from error
    except UnicodeDecodeError as error:
        raise KeyringDamaged(f"systemd credential {rest}: it holds no key: expected text") from error


def _read_env(rest: str, _home: Path) -> bytes:
    # Removed after reading: children inherit the environment, and anyone of our user may read it in /proc.
    text = os.environ.pop(rest, None)
    if text is None:
        raise MasterKeyMissing(f"the environment has no {rest}")
    logger.warning("master key taken from the environment; a file or a systemd credential is safer")
    return _parse(text, f"environment variable {rest}")


def _create_passphrase(rest: str, home: Path, cost: PassphraseCost) -> bytes:
    path = _salt_path(rest, home)
    phrase = _ask_passphrase(twice=True)
    if len(phrase) < PASSPHRASE_LEAST:
        raise Invalid(f"a passphrase has at least {PASSPHRASE_LEAST} characters", field="passphrase")
    salt = os.urandom(nacl.pwhash.argon2id.SALTBYTES)
    write_private(path, json.dumps({"salt": salt.hex(), "ops": cost.ops, "memory_bytes": cost.memory_bytes}) + "\n")
    return stretch(phrase, salt, cost)


def _read_passphrase(rest: str, home: Path) -> bytes:
    path = _salt_path(rest, home)
    try:
        given = json.loads(read_private(path, home))
        salt, cost = bytes.fromhex(given["salt"]), PassphraseCost(int(given["ops"]), int(given["memory_bytes"]))
        return stretch(_ask_passphrase(twice=False), salt, cost)
    except (ValueError, KeyError, TypeError, nacl.exceptions.CryptoError) as error:
        raise KeyringDamaged(f"{path}: it holds no salt as `manyarm init` writes it") from error


def _create_hook(rest: str, home: Path, _cost: PassphraseCost) -> bytes:
    key = os.urandom(KEY_SIZE)
    write_private(_wrapped_path(home), _call_hook(rest, "wrap", key.hex()))
    return key


def _read_hook(rest: str, home: Path) -> bytes:
    return _parse(_call_hook(rest, "unwrap", read_private(_wrapped_path(home), home)), rest)


def _adopt(read: Callable[[str, Path], bytes]) -> Callable[[str, Path, PassphraseCost], bytes]:
    return lambda rest, home, _cost: read(rest, home)


_READ: dict[str, Callable[[str, Path], bytes]] = {
    "file": _read_file,
    "systemd-credential": _read_credential,
    "passphrase": _read_passphrase,
    "env": _read_env,
    "exec": _read_hook,
}
_CREATE: dict[str, Callable[[str, Path, PassphraseCost], bytes]] = {
    "file": _create_file,
    "systemd-credential": _adopt(_read_credential),
    "passphrase": _create_passphrase,
    "env": _adopt(_read_env),
    "exec": _create_hook,
}


def _parse(text: str, where: str) -> bytes:
    given = "".join(text.split()).lower()
    if _HEX.fullmatch(given):
        return bytes.fromhex(given)
    mark, _, letters = given.replace("-", "").partition(_RECOVERY_MARK)
    try:
        content = base64.b32decode(letters.upper() + "=" * (-len(letters) % 8))
    except (binascii.Error, ValueError):
        content = b""
    key, checksum = content[:KEY_SIZE], content[KEY_SIZE:]
    # Spare bits of the last letter are a second spelling, and so a typing error.
    if mark or len(key) != KEY_SIZE or checksum != _checksum(key) or _letters(content) != letters:
        raise KeyringDamaged(f"{where}: expected 64 hex characters or a recovery string without typing errors")
    return key


def _letters(content: bytes) -> str:
    return base64.b32encode(content).decode("ascii").rstrip("=").lower()


def _checksum(key: bytes) -> bytes:
    return hashlib.sha256(b"manyarm/v1/recovery\0" + key).digest()[:4]


def _ask_passphrase(*, twice: bool) -> str:
    descriptor = os.environ.pop(PASSPHRASE_FD, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "r", encoding="utf-8") as given:
            return given.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise MasterKeyMissing(f"there is no terminal to ask for the passphrase, and {PASSPHRASE_FD} is not set")
    phrase = getpass.getpass("Passphrase of the master key: ")
    if twice and getpass.getpass("Once more: ") != phrase:
        raise Invalid("the two passphrases differ", field="passphrase")
    return phrase


def stretch(phrase: str, salt: bytes, cost: PassphraseCost) -> bytes:
    """A key from a passphrase, at the stated cost."""
    return bytes(
        nacl.pwhash.argon2id.kdf(KEY_SIZE, phrase.encode(), salt, opslimit=cost.ops, memlimit=cost.memory_bytes)
    )


def _call_hook(program: str, verb: str, given: str) -> str:
    if not program.startswith("/"):
        raise Invalid(f"exec:{program}: expected an absolute path", field="master_key")
    try:
        done = subprocess.run(
            [program, verb], input=given, capture_output=True, text=True, timeout=_HOOK_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise MasterKeyMissing(f"there is no program {program}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MasterKeyMissing(f"{program} {verb} did not answer: {type(error).__name__}") from error
    if done.returncode != 0:
        raise MasterKeyMissing(f"{program} {verb} ended with status {done.returncode}")
    return done.stdout


def _salt_path(rest: str, home: Path) -> Path:
    return Path(rest) if rest else home.parent / f"{home.name}.master-salt"


def _wrapped_path(home: Path) -> Path:
    return home.parent / f"{home.name}.master-wrapped"


def _refuse_inside(path: Path, home: Path) -> None:
    # Who copies the home, for a backup or as a thief, must not get the key with it.
    if path.parent.resolve().joinpath(path.name).is_relative_to(home.resolve()):
        raise MasterKeyExposed(f"{path}: it lies inside the home {home}; keep it elsewhere")


def write_private(path: Path, text: str) -> None:
    """Private from its first moment, never over something that is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise Invalid(f"{path} exists already; it is not written over", field="master_key") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
