"""`/packages`: uploads stream into the chunk store here; the engine makes a version of them."""

from flask import Response, json
from pydantic import JsonValue

from hub.api import reading, uploads
from hub.api.query_string import ListQuery, Query, SearchQuery, Word
from hub.api.route import Call, Resource
from hub.operations.body import Body, Reply
from hub.operations.operation import validated
from hub.operations.packages import PackagePushed
from hub.packages.incoming import PushListing
from hub.packages.names import parse_package_name
from hub.permissions import Permission
from hub.queries import packages as queries
from hub.queries.listing import Page
from hub.queries.packages import PackageVersionView, PackageView

RESOURCE = Resource("packages")


class UploadQuery(Query):
    """`name`: ID.VERSION.EXT, where the body is the bare file."""

    name: Word = ""


class Listing(Body):
    """What a pusher holds: the file's name, size and SHA-256, and `[sha256, length]` of each chunk."""

    name: str
    size: int
    sha256: str
    chunks: list[JsonValue]


class Missing(Reply):
    """Indexes into the listing."""

    missing: list[int]


@RESOURCE.get("/packages", Page[PackageView], Permission.PACKAGE_VIEW, "All packages", query=SearchQuery)
def list_all(call: Call) -> Page[PackageView]:
    return queries.packages(call.query.slice, call.query.q)


@RESOURCE.get("/packages/<package>", PackageView, Permission.PACKAGE_VIEW, "One package")
def show(_: Call, package: str) -> PackageView:
    return queries.package(package)


@RESOURCE.get(
    "/packages/<package>/versions",
    Page[PackageVersionView],
    Permission.PACKAGE_VIEW,
    "A package's versions, the highest first",
    query=ListQuery,
)
def versions(call: Call, package: str) -> Page[PackageVersionView]:
    return queries.versions(package, call.query.slice)


@RESOURCE.get(
    "/packages/<package>/versions/<version>", PackageVersionView, Permission.PACKAGE_VIEW, "One version of a package"
)
def show_version(_: Call, package: str, version: str) -> PackageVersionView:
    return queries.version(package, version)


@RESOURCE.post(
    "/packages",
    PackagePushed,
    Permission.PACKAGE_PUSH,
    "Push a package: the file itself, a form with the file, or a listing with the chunks that the hub lacks",
    status=201,
    body_media_types=("application/octet-stream", "multipart/form-data", uploads.CHUNKS_TYPE),
    query=UploadQuery,
)
def push(call: Call) -> Response:
    return uploads.take(call, call.query.name)


@RESOURCE.post(
    "/packages/missing",
    Missing,
    Permission.PACKAGE_PUSH,
    "Which chunks of a file the hub lacks, within that package",
    body=Listing,
)
def missing(call: Call) -> Response:
    wanted = reading.json_body(uploads.LISTING_BYTES)
    validated(Listing, wanted)
    file = parse_package_name(wanted["name"])
    found = call.parts.ingestion.missing(file, PushListing.from_json(wanted))
    return Response(json.dumps({"missing": found}), 200, content_type="application/json")


RESOURCE.change("DELETE", "/packages/<package>/versions/<version>", "package.delete")
