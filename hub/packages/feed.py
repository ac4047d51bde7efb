"""The package feed: which versions there are, how one comes to be, how it goes. A version never changes its bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from peewee import fn

from hub.acting import Acting
from hub.errors import Conflict, FieldDamaged, Invalid, NotFound
from hub.packages.many import among, parts_of
from hub.packages.names import BadName, check_id
from hub.packages.sealed_keys import open_manifest_key
from hub.packages.versions import Version, VersionError
from hub.states import PackageKind
from hub.storage.models import Chunk, Package, PackageChunk, PackageVersion, Release, StoredManifest
from hub.storage.models.table import new_row_id
from hub.storage.vault import Vault
from wire.chunks_sealed import Manifest, open_manifest
from wire.errors import Refused


@dataclass(frozen=True, slots=True)
class PushComplete:
    """What an upload has brought (`Ingested.completion()`); `manifest_key_sealed` in hex."""

    package: str
    version: str
    extension: str
    manifest_id: str
    manifest_sha256: str
    manifest_key_sealed: str


def push_complete(
    context: Acting,
    push: PushComplete,
    *,
    kind: PackageKind = PackageKind.PACKAGE,
    release_document: bytes | None = None,
) -> tuple[PackageVersion, bool]:
    """Make the version that an upload has brought; the manifest is opened and believed, the request is not.

    Returns:
        The version, and whether it is new: the same bytes pushed again are the version that is there.

    Raises:
        Conflict: this version exists with other bytes; or chunks were collected meanwhile: push again.
        Invalid: the request is not about what was uploaded.
    """
    manifest = _manifest(context.vault, push)
    version = _version(push)
    package = _package(push.package, context.now_ms)
    existing = _same_version(package, version)
    if existing is not None:
        return _existing(existing, manifest, push), False
    row = PackageVersion(
        package=package.id,
        kind=kind,
        version=version.text,
        version_sort=version.sort_key,
        extension=push.extension,
        size=manifest.size,
        sha256=manifest.sha256.hex(),
        manifest_id=push.manifest_id,
        manifest_sha256=push.manifest_sha256,
        manifest_key_sealed=bytes.fromhex(push.manifest_key_sealed),
        chunks=len(manifest.chunks),
        release_document=release_document,
        created_at=context.now_ms,
        pushed_by=context.caller.user_id,
    )
    row.save(force_insert=True)
    _link(row, [chunk.id.hex() for chunk in manifest.chunks])
    return row, True


def delete_version(_context: Acting, package_version_id: str) -> PackageVersion:
    """Forget a version; its chunks go with the next collection unless other versions share them.

    Raises:
        Conflict: a release names it.
    """
    row = by_id(package_version_id)
    package: Package = Package.get_by_id(row.package)
    for release in Release.select(Release.version, Release.packages):
        if release.packages.get(package.name) == row.version:
            raise Conflict(f"release {release.version} uses {package.name} {row.version}: delete that first")
    StoredManifest.delete().where(StoredManifest.id == row.manifest_id).execute()
    row.delete_instance()
    if not PackageVersion.select().where(PackageVersion.package == package.id).exists():
        package.delete_instance()
    return row


def packages() -> list[Package]:
    """All package ids, in the order of the alphabet."""
    return list(Package.select().order_by(fn.LOWER(Package.name)))


def versions(package_id: str) -> list[PackageVersion]:
    """Of one package (row id), the newest first."""
    query = PackageVersion.select().where(PackageVersion.package == package_id)
    return list(query.order_by(PackageVersion.version_sort.desc()))


def find(package_name: str, version_text: str) -> PackageVersion:
    """That version; `1.0` of another spelling (1.0.0+linux for 1.0.0) is the same.

    Raises:
        NotFound: there is none.
    """
    package = _named(package_name)
    try:
        wanted = Version.parse(version_text)
    except VersionError as error:
        raise NotFound(f"package {package.name} has no version {version_text[:64]!r}: {error}") from error
    row = _same_version(package, wanted)
    if row is None:
        raise NotFound(f"package {package.name} has no version {version_text}")
    return row


def newest(package_name: str, *, prereleases: bool = True) -> PackageVersion:
    """The highest version.

    Raises:
        NotFound: there is no such package, or only pre-releases where none are wanted.
    """
    package = _named(package_name)
    for row in versions(package.id):
        if prereleases or not Version.parse(row.version).is_prerelease:
            return row
    raise NotFound(f"package {package.name} has no version yet")


def by_id(package_version_id: str) -> PackageVersion:
    row: PackageVersion | None = PackageVersion.get_or_none(PackageVersion.id == package_version_id)
    if row is None:
        raise NotFound("no such package version")
    return row


def name_of(row: PackageVersion) -> str:
    package: Package = Package.get_by_id(row.package)
    return str(package.name)


def _manifest(vault: Vault, push: PushComplete) -> Manifest:
    """What was uploaded, as its sealed manifest says, if the request says the same."""
    stored: StoredManifest | None = StoredManifest.get_or_none(StoredManifest.id == push.manifest_id)
    if stored is None or stored.sealed is None:
        raise Conflict("this upload is not here any more: push the package again")
    try:
        key = open_manifest_key(vault, push.manifest_id, bytes.fromhex(push.manifest_key_sealed))
        manifest = open_manifest(key, push.manifest_id, stored.sealed, push.manifest_sha256)
    except (Refused, FieldDamaged, ValueError) as error:
        raise Invalid("the manifest of this upload does not open: push the package again") from error
    if (manifest.package, manifest.version, manifest.extension) != (push.package, push.version, push.extension):
        raise Invalid("this upload is of another package, version or extension")
    return manifest


def _version(push: PushComplete) -> Version:
    try:
        check_id(push.package)
        return Version.parse(push.version)
    except (BadName, VersionError) as error:
        raise Invalid(str(error), field="name") from error


def _package(name: str, now_ms: int) -> Package:
    """The package of that id, made at its first version; ids that differ in case alone are one.

    Raises:
        Conflict: it is there in another spelling.
    """
    row: Package | None = Package.get_or_none(fn.LOWER(Package.name) == name.lower())
    if row is None:
        made: Package = Package.create(name=name, created_at=now_ms)
        return made
    if row.name != name:
        raise Conflict(f"this package is called {row.name!r} here: use that spelling")
    return row


def _same_version(package: Package, version: Version) -> PackageVersion | None:
    found: PackageVersion | None = PackageVersion.get_or_none(
        (PackageVersion.package == package.id) & (PackageVersion.version_sort == version.sort_key)
    )
    return found


def _existing(row: PackageVersion, manifest: Manifest, push: PushComplete) -> PackageVersion:
    """The version that is there, if the same bytes were pushed once more."""
    if (row.sha256, row.version, row.extension) != (manifest.sha256.hex(), push.version, push.extension):
        raise Conflict(
            f"{push.package} {row.version} exists with other bytes: a version never changes; push under another number"
            if row.version == push.version
            else f"{push.package} {push.version} is the same version as {row.version}, which exists"
        )
    StoredManifest.delete().where(StoredManifest.id == push.manifest_id).execute()
    return row


def _link(row: PackageVersion, chunks: Sequence[str]) -> None:
    """Name the version's chunks, all of which must be stored still.

    Raises:
        Conflict: some were collected between upload and now.
    """
    wanted = set(chunks)
    if Chunk.select().where(among(Chunk.id, wanted)).count() != len(wanted):
        raise Conflict("chunks of this upload were collected meanwhile: push the package again")
    columns = (PackageChunk.id, PackageChunk.package_version, PackageChunk.position, PackageChunk.chunk)
    links = [(new_row_id(), row.id, position, chunk) for position, chunk in enumerate(chunks)]
    for part in parts_of(links):
        PackageChunk.insert_many(part, fields=columns).execute()


def _named(package_name: str) -> Package:
    row: Package | None = Package.get_or_none(fn.LOWER(Package.name) == package_name.lower())
    if row is None:
        raise NotFound(f"no package {package_name[:100]!r}")
    return row
