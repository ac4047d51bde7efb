"""The runner as a package: signed, stored, delivered by chunks and named by digest like any other."""

from pathlib import Path
from typing import Protocol

from hub.acting import Acting
from hub.packages.feed import PushComplete, push_complete
from hub.packages.ingest import Ingestion
from hub.packages.names import PackageFile
from hub.packages.versions import Version
from hub.states import PackageKind
from hub.storage.database import connection, write_tx
from hub.storage.models import PackageVersion
from hub.storage.prepared import PreparedRows, hole
from wire import canonical, schema
from wire.documents import DocumentKind, RunnerDocument, split_document
from wire.keys import SigningKey

RUNNER = "manyarm-runner"
EXTENSION = "zip"
VALID_S = 180 * 86_400
MIN_PYTHON = "3.9"
PLATFORMS = ("linux",)
# So many may have been published in a time that the hub has forgotten.
_FORGOTTEN_RELEASES = 100

_NEWEST = PreparedRows(
    PackageVersion,
    lambda: (
        PackageVersion.select()
        .where(PackageVersion.kind == hole("kind"))
        .order_by(PackageVersion.version_sort.desc())
        .limit(1)
    ),
)


class BuiltRunner(Protocol):
    """As runner/build.py makes it."""

    @property
    def path(self) -> Path: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def release(self) -> int: ...
    @property
    def semver(self) -> str: ...


def publish_runner(
    context: Acting, ingestion: Ingestion, built: BuiltRunner, release_key: SigningKey, *, restored_ms: int = 0
) -> PackageVersion:
    """Store the runner that was built, under a signed document, unless these very bytes are there already.

    Opens transactions of its own: reading a file does not belong into one.

    Args:
        context: Who acts (the engine itself), when.
        ingestion: Takes the bytes in.
        built: The archive.
        release_key: hub-release.
        restored_ms: When the hub was put back to an earlier state: since then it does not know which releases spokes
            have seen, and makes one that is above them.
    """
    with connection():
        latest = latest_runner()
        is_forgotten = latest is not None and latest.created_at <= restored_ms
        if latest is not None and latest.sha256 == built.sha256 and not is_forgotten:
            return latest
        leap = _FORGOTTEN_RELEASES if is_forgotten else 1
        document = _document(context.now_ms // 1_000, built, latest, leap)
        file = PackageFile(RUNNER, _version(document), EXTENSION)
        with built.path.open("rb") as stream:
            ingested = ingestion.whole(file, stream, length=built.size)
        push = PushComplete(**ingested.completion())
        with write_tx():
            row, _ = push_complete(context, push, kind=PackageKind.RUNNER, release_document=document.sign(release_key))
        return row


def latest_runner() -> PackageVersion | None:
    """The newest runner that was published."""
    return _NEWEST.one(kind=PackageKind.RUNNER)


def release_of(row: PackageVersion) -> RunnerDocument:
    """What our own row says; a spoke verifies the same frame."""
    return schema.read(RunnerDocument, canonical.decode(split_document(row.release_document, DocumentKind.RUNNER).json))


def _document(now_s: int, built: BuiltRunner, latest: PackageVersion | None, leap: int) -> RunnerDocument:
    before = release_of(latest) if latest is not None else None
    # Other bytes are another release, whatever the sources say: a spoke refuses an equal number with another digest.
    release = built.release if before is None else max(built.release, before.release + leap)
    return RunnerDocument(
        name=RUNNER,
        release=release,
        semver=built.semver,
        sha256=built.sha256,
        size=built.size,
        min_python=MIN_PYTHON,
        platforms=PLATFORMS,
        created=now_s,
        expires=now_s + VALID_S,
        prev_release_sha256=before.sha256 if before is not None else "",
    )


def _version(document: RunnerDocument) -> Version:
    """The release number stands behind the version that people read, so every release has a version of its own."""
    semver = Version.parse(document.semver)
    numbers = ".".join(str(number) for number in (*semver.numbers[:3], document.release))
    return Version.parse("-".join(part for part in (numbers, ".".join(semver.prerelease)) if part))
