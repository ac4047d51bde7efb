"""Packages and their versions."""

from peewee import fn

from hub.errors import NotFound
from hub.operations.body import Reply
from hub.packages import feed
from hub.queries.listing import Order, Page, Slice, page, time_text
from hub.storage.models import Package, PackageVersion


class PackageView(Reply):
    """`newest` is its highest version."""

    id: str
    versions: int
    newest: str | None


class PackageVersionView(Reply):
    """`id` is the package's name, as the file names say it."""

    id: str
    version: str
    extension: str
    size: int
    sha256: str
    chunks: int
    created_at: str
    pushed_by: str | None


def packages(part: Slice, q: str = "") -> Page[PackageView]:
    query = Package.select()
    if q:
        query = query.where(Package.name.contains(q))
    return page(query, Order(Package.name, Package.id), part, _view)


def package(name: str) -> PackageView:
    return _view(_row(name))


def versions(name: str, part: Slice) -> Page[PackageVersionView]:
    """The highest first."""
    row = _row(name)
    query = PackageVersion.select().where(PackageVersion.package == row.id)
    order = Order(PackageVersion.version_sort, PackageVersion.id, newest_first=True)
    return page(query, order, part, lambda found: version_view(found, row.name))


def version(name: str, number: str) -> PackageVersionView:
    row = feed.find(name, number)
    return version_view(row, feed.name_of(row))


def version_view(row: PackageVersion, name: str) -> PackageVersionView:
    return PackageVersionView(
        id=name,
        version=row.version,
        extension=row.extension,
        size=row.size,
        sha256=row.sha256,
        chunks=row.chunks,
        created_at=time_text(row.created_at),
        pushed_by=row.pushed_by,
    )


def _view(row: Package) -> PackageView:
    numbers = PackageVersion.select().where(PackageVersion.package == row.id)
    newest = numbers.order_by(PackageVersion.version_sort.desc()).first()
    return PackageView(id=row.name, versions=numbers.count(), newest=newest.version if newest else None)


def _row(name: str) -> Package:
    row: Package | None = Package.get_or_none(fn.LOWER(Package.name) == name.lower())
    if row is None:
        raise NotFound(f"no package {name!r}")
    return row
