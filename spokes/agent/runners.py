"""Installs runner releases on the machine: a signed document decides, a digest names, what is there is checked.

A release is unpacked once into `runners/<sha256>/`, compiled for the interpreter that will run it, made read-only, and
the digest of the whole folder is remembered and compared when the spoke starts.
"""

import hashlib
import io
import json
import logging
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from spokes.agent.errors import HomeUnsafe
from spokes.agent.home import SHA256
from spokes.agent.machine import Machine, Program
from spokes.agent.package_cache import PackageCache
from spokes.agent.private_files import write_private
from wire.crash import crash_point
from wire.documents import HighWaterMark, RunnerDocument, accept_runner
from wire.errors import Code, Refused
from wire.messages import PackageRef
from wire.roles import Role
from wire.trust import TrustChain

logger = logging.getLogger(__name__)

RUNNER_MAX = 32 * 1024 * 1024
_FILES_MAX = 2_000
_KEPT = 3
_NAME = "manyarm-runner"


@dataclass(frozen=True, slots=True)
class Installed:
    """What is remembered of one release: its number and the digest of its folder."""

    release: int
    tree: str


class Runners:
    """Used by all job threads, one at a time.

    Args:
        record: File that remembers what is installed and the highest release seen.
        python: The interpreter that runs jobs.
    """

    def __init__(self, machine: Machine, cache: PackageCache, *, record: Path, python: str) -> None:
        self._machine = machine
        self._cache = cache
        self._record = record
        self._python = python
        self._lock = threading.Lock()
        self._installed, self._mark = _read_record(record)
        self._checked: set[str] = set()

    @property
    def newest_release(self) -> int:
        return max((one.release for one in self._installed.values()), default=0)

    def check_installed(self) -> None:
        """At start: what is no longer as it was installed is removed, and fetched again when a job names it."""
        with self._lock:
            for sha256 in list(self._installed):
                if not self._is_sound(sha256):
                    logger.warning("an installed runner was altered and is removed", extra={"runner": sha256})
                    self._forget(sha256)

    def ensure(self, ref: PackageRef, trust: TrustChain, now: int, capability: str) -> str:
        """Have this release on the machine; returns its digest, which names its folder.

        A release that is installed goes on working; a new one must be newer than all before it.

        Raises:
            Refused: RUN_{SIG,HASH,ROLLBACK,EXPIRED,PLATFORM}, or why it could not be fetched.
        """
        with self._lock:
            if not self._is_sound(ref.sha256):
                self._install(ref, trust, now, capability)
            elif self._installed[ref.sha256].release < trust.document.runner_min_release:
                raise Refused(Code.RUN_ROLLBACK, "the installed release is older than the trust document allows")
            return ref.sha256

    def tree(self, sha256: str) -> str:
        """The digest of the folder of an installed release, "" if it is not installed."""
        installed = self._installed.get(sha256)
        return "" if installed is None else installed.tree

    def distrust(self, sha256: str) -> None:
        """It was found altered: the next job looks at all of it again."""
        self._checked.discard(sha256)

    def is_at_hand(self, ref: PackageRef, trust: TrustChain) -> bool:
        """Whether `ensure` would have nothing to do; asks nobody and waits for nothing."""
        known = self._installed.get(ref.sha256)
        return known is not None and ref.sha256 in self._checked and known.release >= trust.document.runner_min_release

    def newest(self) -> str:
        """The digest of the newest release installed, or ""."""
        return max(self._installed, key=lambda sha256: self._installed[sha256].release, default="")

    def prune(self, in_use: set[str]) -> None:
        """Keep the newest few; what a run may still import from stays."""
        with self._lock:
            by_age = sorted(self._installed, key=lambda sha256: self._installed[sha256].release, reverse=True)
            for sha256 in by_age[_KEPT:]:
                if sha256 not in in_use:
                    self._forget(sha256)

    def _install(self, ref: PackageRef, trust: TrustChain, now: int, capability: str) -> None:
        document = _opened(ref, trust, now)
        kids = [key.kid.hex() for key in trust.document.trusted(Role.HUB_RELEASE)]
        mark = accept_runner(document, self._mark, min_release=trust.document.runner_min_release, kids=kids, at=now)
        self._must_run_here(document)
        folder = f"runners/{ref.sha256}"
        self._machine.remove([folder])
        self._machine.put(folder, _unpacked(self._content(ref, document, capability)), durable=False)
        crash_point("runner.unpacked")
        self._compile(folder)
        crash_point("runner.compiled")
        self._installed[ref.sha256] = Installed(document.release, self._tree(ref.sha256))
        self._mark = mark
        self._checked.add(ref.sha256)
        self._remember()
        crash_point("runner.remembered")
        logger.info("runner installed", extra={"runner": ref.sha256, "release": document.release})

    def _content(self, ref: PackageRef, document: RunnerDocument, capability: str) -> bytes:
        try:
            content = self._cache.content(ref, capability, RUNNER_MAX)
        except Refused as refusal:
            if refusal.code in {Code.BLOB_HASH, Code.BLOB_SIZE}:
                raise Refused(Code.RUN_HASH, refusal.detail) from refusal
            raise
        if len(content) != document.size:
            raise Refused(Code.RUN_HASH, "the runner is not as long as its document says")
        return content

    def _must_run_here(self, document: RunnerDocument) -> None:
        ran = self._machine.run(
            Program(
                (
                    self._python,
                    "-I",
                    "-S",
                    "-c",
                    "import sys; print('%d.%d %s' % (*sys.version_info[:2], sys.platform))",
                )
            )
        )
        version, _, platform = ran.output.decode("utf-8", "replace").strip().partition(" ")
        if ran.exit_code or not platform:
            raise Refused(Code.RUN_PLATFORM, f"the interpreter {self._python} does not run")
        if _number(version) < _number(document.min_python):
            raise Refused(Code.RUN_PLATFORM, f"Python {version}; the runner needs {document.min_python} or later")
        if document.platforms and not {"any", platform} & set(document.platforms):
            raise Refused(Code.RUN_PLATFORM, f"the platform is {platform}; the runner is for {document.platforms[0]}")

    def _compile(self, folder: str) -> None:
        """Plain sources would cost half a second at each start; nobody writes there afterwards."""
        place = f"{self._machine.home}/{folder}"
        compiled = self._machine.run(
            Program(
                (self._python, "-I", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", place)
            )
        )
        if compiled.exit_code:
            logger.warning("the runner could not be compiled", extra={"folder": folder, "status": compiled.exit_code})
        self._machine.run(Program(("chmod", "-R", "a=rX", place)))

    def _is_sound(self, sha256: str) -> bool:
        known = self._installed.get(sha256)
        if known is None:
            return False
        if sha256 not in self._checked:
            if self._tree(sha256) != known.tree:
                return False
            self._checked.add(sha256)
        return True

    def _tree(self, sha256: str) -> str:
        files = self._machine.list(f"runners/{sha256}", hashed=True)
        text = "".join(f"{name}\0{files[name].sha256}\n" for name in sorted(files))
        return hashlib.sha256(text.encode()).hexdigest()

    def _forget(self, sha256: str) -> None:
        del self._installed[sha256]
        self._checked.discard(sha256)
        self._machine.remove([f"runners/{sha256}"])
        self._remember()

    def _remember(self) -> None:
        content = {
            "installed": {name: {"release": one.release, "tree": one.tree} for name, one in self._installed.items()},
            "mark": None
            if self._mark is None
            else {"number": self._mark.number, "sha256": self._mark.sha256, "kids": sorted(self._mark.kids)},
        }
        write_private(self._record, json.dumps(content).encode())


def _opened(ref: PackageRef, trust: TrustChain, now: int) -> RunnerDocument:
    document = RunnerDocument.open(bytes.fromhex(ref.release), trust.directory(), now)
    if document.name != _NAME:
        raise Refused(Code.RUN_SIG, "the document is of another product")
    if document.sha256 != ref.sha256:
        raise Refused(Code.RUN_HASH, "the document is of other bytes than the job names")
    return document


def _unpacked(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of the verified archive; nothing that could lie outside of its folder."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        members = [member for member in archive.infolist() if not member.is_dir()]
    except zipfile.BadZipFile as error:
        raise Refused(Code.RUN_HASH, "the runner is no archive") from error
    if len(members) > _FILES_MAX or sum(member.file_size for member in members) > RUNNER_MAX * 4:
        raise Refused(Code.RUN_HASH, "the runner has too many files or bytes")
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or path.name.startswith("."):
            raise Refused(Code.RUN_HASH, "the runner has a file outside of its folder")
        yield str(path), archive.read(member)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isascii() and part.isdigit())


def _read_record(path: Path) -> tuple[dict[str, Installed], HighWaterMark | None]:
    try:
        found = json.loads(path.read_bytes())
        installed = {
            sha256: Installed(int(one["release"]), str(one["tree"]))
            for sha256, one in found["installed"].items()
            if SHA256.fullmatch(sha256)
        }
        mark = found["mark"]
        return installed, mark and HighWaterMark(mark["number"], mark["sha256"], frozenset(mark["kids"]))
    except FileNotFoundError:
        return {}, None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # It holds the highest release seen: to go on without it would let an old release in.
        raise HomeUnsafe(f"{path} is damaged; restore it from a backup of this home") from error
