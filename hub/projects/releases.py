"""Releases: a project's process, variables and package versions, frozen under a number.

What is frozen: the steps, the plain values, the scopes, the packages. What is not: a secret's value. The snapshot names
the secret's row; the value of the day is used, so that a rotated password counts at once and no old one is kept.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from peewee import fn

from hub.acting import Acting
from hub.errors import Conflict, Invalid, NotFound
from hub.packages import feed
from hub.packages.versions import Version, VersionError
from hub.projects import lifecycles, variables
from hub.projects.process import packages_of
from hub.projects.progression import Verdict, may_go
from hub.projects.rolling_back import Went, release_before
from hub.states import TASK_ENDED, TaskState
from hub.storage.models import Deployment, Environment, Lifecycle, PackageVersion, Project, Release, Task

FORMAT = 1
FIRST_VERSION = "1.0.0"
Snapshot = dict[str, Any]
_HISTORY = 1000


def create(
    context: Acting, project: Project, *, version: str | None, packages: Mapping[str, str], notes: str = ""
) -> Release:
    """Freeze a project as it stands.

    Args:
        context: Who acts, and with which seals.
        project: Its seal is checked: an altered process is never frozen.
        version: None: the version of the first package that is still free, else the next patch.
        packages: Versions by package name; the newest of every package that is not named.
        notes: Free text.

    Raises:
        Invalid: no steps, an unknown package or version. Conflict: the version is taken.
    """
    context.seals.check(project)
    if not project.process:
        raise Invalid(f"project {project.name!r} has no steps yet; a release of it would do nothing", field="project")
    chosen = _chosen_packages(project, packages)
    number = _number(project, version, chosen)
    snapshot = _frozen(snapshot_of(context, project, number, chosen))
    row = Release(
        project=project.id,
        version=number,
        version_sort=Version.parse(number).sort_key,
        notes=notes,
        snapshot=snapshot,
        snapshot_sha256=hashlib.sha256(snapshot).hexdigest(),
        packages={name: found.version for name, found in chosen.items()},
        created_by=context.caller.user_id,
    )
    context.seals.seal(row)
    row.save(force_insert=True)
    return row


def delete(row: Release) -> None:
    busy = Task.get_or_none((Task.release == row.id) & Task.state.not_in([str(state) for state in TASK_ENDED]))
    if busy is not None:
        raise Conflict(f"task {busy.id} deploys release {row.version}; cancel it or wait")
    row.delete_instance()


def snapshot_of(context: Acting, project: Project, version: str, packages: Mapping[str, PackageVersion]) -> Snapshot:
    """All that a deployment will read of the project, as JSON."""
    values = variables.reachable(project)
    for row, _, _ in values:
        context.seals.check(row)
    return {
        "format": FORMAT,
        "project": {"id": project.id, "name": project.name, "slug": project.slug},
        "version": version,
        "process": project.process,
        "variables": [
            {
                "id": row.id,
                "name": row.name,
                "value": None if row.secret else row.value,
                "secret": row.secret,
                "version": row.value_version,
                "expose_env": row.expose_env,
                "scope": row.scope,
                "source": source,
                "nearness": nearness,
            }
            for row, source, nearness in values
        ],
        "packages": {
            name: {
                "version": found.version,
                "extension": found.extension,
                "sha256": found.sha256,
                "package_version": found.id,
            }
            for name, found in packages.items()
        },
    }


def read_snapshot(context: Acting, row: Release) -> Snapshot:
    """The frozen content, after its seal and its hash were checked."""
    context.seals.check(row)
    if hashlib.sha256(row.snapshot).hexdigest() != row.snapshot_sha256:
        raise Conflict(f"the snapshot of release {row.version} is not what was frozen; make a new release")
    found: Snapshot = json.loads(row.snapshot)
    return found


def succeeded_in(row: Release) -> frozenset[str]:
    """Ids of the environments that took this release with success."""
    done = (
        Deployment.select(Deployment.environment)
        .join(Task, on=(Deployment.task == Task.id))
        .where((Deployment.release == row.id) & (Task.state == str(TaskState.SUCCEEDED)))
        .distinct()
    )
    return frozenset(deployment.environment for deployment in done)


def present_in(row: Release) -> frozenset[str]:
    """Ids of the environments where it is what went there last, with success; after a failure nothing wholly is."""
    newest = (
        Deployment.select(Deployment.environment, fn.MAX(Deployment.created_at).alias("at"))
        .join(Task, on=(Deployment.task == Task.id))
        .where((Deployment.project == row.project) & _has_run())
        .group_by(Deployment.environment)
        .alias("newest")
    )
    same = (Deployment.environment == newest.c.environment_id) & (Deployment.created_at == newest.c.at)
    found = (
        Deployment.select(Deployment.environment)
        .join(newest, on=same)
        .join(Task, on=(Deployment.task == Task.id))
        .where((Deployment.release == row.id) & (Task.state == str(TaskState.SUCCEEDED)))
    )
    return frozenset(deployment.environment for deployment in found)


def before_the_present(project: Project, environment: Environment) -> Release | None:
    """The release that going back from what is there leads to; what was cancelled before it began does not count."""
    ended: Any = (
        Deployment.select(Deployment.release, Deployment.rollback, Task.state)
        .join(Task, on=(Deployment.task == Task.id))
        .where(
            Deployment.project == project.id,
            Deployment.environment == environment.id,
            _has_run(),
        )
        .order_by(Deployment.created_at.desc(), Deployment.id.desc())
        .limit(_HISTORY)
        .tuples()
    )
    history = [Went(release, state == TaskState.SUCCEEDED, rollback) for release, rollback, state in ended]
    found: Release | None = Release.get_or_none(Release.id == release_before(reversed(history)))
    return found


def _has_run() -> Any:
    return (Task.state << [str(state) for state in TASK_ENDED]) & Task.started_at.is_null(False)


def may_be_deployed(row: Release, environment: Environment) -> Verdict:
    """Whether the lifecycle lets the release enter the environment now."""
    return may_go(lifecycles.phases_of(_lifecycle_of(row)), environment.id, succeeded_in(row))


def environments_of(row: Release) -> tuple[str, ...]:
    """Ids of the environments that the release may ever enter, in the order of the phases; without phases, all."""
    phases = lifecycles.phases_of(_lifecycle_of(row))
    if not phases:
        return tuple(found.id for found in Environment.select().order_by(Environment.position, Environment.name))
    return tuple(dict.fromkeys(environment for phase in phases for environment in phase.environments))


def _lifecycle_of(row: Release) -> Lifecycle:
    project = Project.get_by_id(row.project)
    found: Lifecycle = Lifecycle.get_by_id(project.lifecycle)
    return found


def _chosen_packages(project: Project, wanted: Mapping[str, str]) -> dict[str, PackageVersion]:
    needed = packages_of(project.process)
    for name in wanted:
        if name not in needed:
            raise Invalid(f"no step of {project.name!r} uses package {name!r}", field=f"packages.{name}")
    return {name: _package_version(name, wanted.get(name)) for name in needed}


def _package_version(name: str, version: str | None) -> PackageVersion:
    try:
        return feed.find(name, version) if version is not None else feed.newest(name)
    except NotFound as error:
        raise Invalid(error.detail, field=f"packages.{name}") from error


def _number(project: Project, wanted: str | None, packages: Mapping[str, PackageVersion]) -> str:
    taken = {row.version for row in Release.select(Release.version).where(Release.project == project.id)}
    if wanted is not None:
        try:
            number = Version.parse(wanted).text
        except VersionError as error:
            raise Invalid(str(error), field="version") from error
        if number in taken:
            raise Conflict(f"{project.name} has a release {number} already", field="version")
        return number
    for found in packages.values():
        if found.version not in taken:
            return str(found.version)
    return _next_patch(taken)


def _next_patch(taken: set[str]) -> str:
    if not taken:
        return FIRST_VERSION
    newest = max(Version.parse(text) for text in taken)
    core = newest.text.partition("+")[0].partition("-")[0].split(".")
    number = ".".join([*core[:2], str(int(core[2]) + 1)])
    while number in taken:
        head, _, last = number.rpartition(".")
        number = f"{head}.{int(last) + 1}"
    return number


def _frozen(snapshot: Snapshot) -> bytes:
    return json.dumps(snapshot, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
