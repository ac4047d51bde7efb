"""`/releases`: by id; by version where `?project=` says whose."""

from hub.api.query_string import ListQuery, Query, Word
from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import releases as queries
from hub.queries.listing import Page
from hub.queries.releases import ProgressionView, ReleaseDetail, ReleaseView

RESOURCE = Resource("releases")


class ReleasesQuery(ListQuery):
    project: Word = ""


class ReleaseQuery(Query):
    project: Word = ""


@RESOURCE.get("/releases", Page[ReleaseView], Permission.PROJECT_VIEW, "Releases, newest first", query=ReleasesQuery)
def list_all(call: Call) -> Page[ReleaseView]:
    return queries.all_releases(call.caller, call.query.slice, call.query.project)


@RESOURCE.get("/releases/<release>", ReleaseDetail, Permission.PROJECT_VIEW, "What a release froze", query=ReleaseQuery)
def show(call: Call, release: str) -> ReleaseDetail:
    return queries.release(call.caller, release, call.query.project)


@RESOURCE.get(
    "/releases/<release>/progression",
    ProgressionView,
    Permission.PROJECT_VIEW,
    "Where a release was, and where it may go now",
    query=ReleaseQuery,
)
def progression(call: Call, release: str) -> ProgressionView:
    return queries.progression(call.caller, release, call.query.project)


RESOURCE.change("POST", "/releases", "release.create")
RESOURCE.change("DELETE", "/releases/<release>", "release.delete")
