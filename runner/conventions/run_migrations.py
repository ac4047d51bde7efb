"""Run the SQL files that a database has not seen yet: each once, in order, journalled in that database."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import List, Tuple

from runner.contract.archives import Limits, safe_unpack
from runner.database import Database, Session, Stamp, Tools
from runner.databases import open_session
from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.job_folder import ACCOUNT_FOLDER
from runner.migrations import (
    APPLIED,
    JOURNAL,
    STARTED,
    Due,
    Migration,
    Rules,
    asks_to_run_alone,
    due,
    fault_of_name,
    half_done,
    order_key,
)
from runner.outputs_to_come import waits_for_outputs
from runner.package_files import compiled_glob, read_text

FILES_MAX = 10_000
_HEAD_BYTES = 64 * 1024
_COPY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class _Folder:
    """Where the files lie as they came, and where as they are to run."""

    source: Path
    filled_in: Path


class RunMigrations:
    name = "run migrations"

    def install(self, deployment: RunningDeployment) -> None:
        _run(deployment, is_preview=False)

    def rollback(self, deployment: RunningDeployment) -> None:
        """A file that failed took itself back, where its engine can; those before it stay, for only new files undo."""

    def finish(self, deployment: RunningDeployment, *, succeeded: bool) -> None:  # noqa: ARG002  in any case
        """Take passwords away; the supervisor does the same where this process was ended."""
        shutil.rmtree(deployment.folder.work / ACCOUNT_FOLDER, ignore_errors=True)


class TellMigrations:
    """What a preview says: the journal is read, nothing is written."""

    name = "tell of the migrations"

    def install(self, deployment: RunningDeployment) -> None:
        if waits_for_outputs(deployment):
            return
        try:
            _run(deployment, is_preview=True)
        finally:
            shutil.rmtree(deployment.folder.work / ACCOUNT_FOLDER, ignore_errors=True)

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was done."""


class LeaveMigrations:
    """What happens on the way back to an earlier release: nothing, and that is said."""

    name = "leave the database as it is"

    def install(self, deployment: RunningDeployment) -> None:
        deployment.say(
            "migrations never run backwards: the database stays as it is, so the earlier release must be able to live "
            "with it; a change that takes one back is a new file in a new release"
        )

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was done."""


def _run(deployment: RunningDeployment, *, is_preview: bool) -> None:
    rules = _rules_of(deployment)
    database = _database_of(deployment, is_read_only=is_preview)
    private = deployment.folder.work / ACCOUNT_FOLDER
    private.mkdir(mode=0o700)
    folder = _folder_of(deployment, private)
    migrations = _migrations(deployment, folder, rules)
    tools = Tools(
        environment=deployment.scripts.program_environment(),
        path=deployment.scripts.path,
        folder=private,
        files=folder.filled_in,
        say=deployment.say,
    )
    with closing(open_session(deployment.properties["engine"], database, tools)) as session:
        if is_preview:
            _tell(deployment, due(migrations, session.entries(), rules, session.journal))
            return
        session.take()
        found = due(migrations, session.entries(), rules, session.journal)
        for warning in found.warnings:
            deployment.warn(warning)
        for migration in found.pending:
            _apply(deployment, session, migration)
    deployment.say(
        f"ran {len(found.pending)} of {len(migrations)} migrations"
        if found.pending
        else f"all {len(migrations)} migrations ran before"
    )
    deployment.channel.output("MigrationsRun", str(len(found.pending)))


def _tell(deployment: RunningDeployment, found: Due) -> None:
    for warning in found.warnings:
        deployment.warn(warning)
    for migration in found.pending:
        deployment.say(f"would run {migration.name}" + (" (outside of a transaction)" if migration.is_alone else ""))
    if not found.pending:
        deployment.say("no migration is due")


def _apply(deployment: RunningDeployment, session: Session, migration: Migration) -> None:
    deployment.say(f"running {migration.name}")
    job = deployment.job
    try:
        session.apply(migration, Stamp(release=job.release.version or "(none)", task=job.task))
    except StepFailed as error:
        left = next((entry for entry in session.entries() if entry.name == migration.name), None)
        if left is None:
            raise StepFailed(f"{migration.name} failed, and nothing of it is left in the database: {error}") from error
        if left.state == STARTED:
            raise StepFailed(f"{migration.name} failed: {error}. {half_done(left, session.journal)}") from error
        if left.state != APPLIED or left.sha256 != migration.sha256:
            raise
        deployment.say(f"{migration.name} was run meanwhile, by release {left.release}")


def _rules_of(deployment: RunningDeployment) -> Rules:
    properties = deployment.properties
    return Rules(
        is_natural=properties["order"] == "natural",
        fails_when_changed=properties["changed"] == "fail",
        in_any_order=properties["out_of_order"] == "run",
    )


def _database_of(deployment: RunningDeployment, *, is_read_only: bool) -> Database:
    properties = deployment.properties
    journal = deployment.text("journal")
    if not JOURNAL.match(journal):
        raise StepFailed(f"journal takes a table's name in small letters, perhaps with a schema, not {journal!r}")
    texts = {name: deployment.text(name) for name in ("database", "host", "user", "password", "ca_file")}
    for name, text in texts.items():
        if "\0" in text:
            raise StepFailed(f"{name} holds a character that no client takes")
    port = deployment.text("port")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise StepFailed(f"port takes a number from 1 to 65535, not {port!r}")
    return Database(
        name=texts["database"],
        host=texts["host"],
        port=int(port or 0),
        user=texts["user"],
        password=texts["password"],
        tls=properties["tls"],
        ca_file=texts["ca_file"],
        journal=journal,
        wait_s=properties["wait_s"],
        is_read_only=is_read_only,
    )


def _folder_of(deployment: RunningDeployment, private: Path) -> _Folder:
    """The folder that the step names: of its package, or, without one, of this machine."""
    named = deployment.text("folder")
    if "\0" in named or ".." in Path(named).parts:
        raise StepFailed(f"folder takes no '..', and this is {named!r}")
    if deployment.job.package is None:
        if not named.startswith("/"):
            raise StepFailed("without a package, folder must be the absolute path of a directory with SQL files")
        source = Path(named)
    else:
        if named.startswith("/"):
            raise StepFailed(f"folder is a directory of the package here, not {named!r}")
        source = _extracted(deployment) / named
    if not source.is_dir():
        raise StepFailed(f"there is no directory {named or source}")
    return _Folder(source, private / "sql" if deployment.properties["substitute"] else source)


def _extracted(deployment: RunningDeployment) -> Path:
    goal = deployment.folder.work / "package"
    limits = Limits(total_bytes=deployment.job_file.limits.disk_bytes)
    safe_unpack(deployment.package_file, goal, limits, extension=deployment.package.extension)
    return goal


def _migrations(deployment: RunningDeployment, folder: _Folder, rules: Rules) -> List[Migration]:
    """The files that the globs name, in order; values filled in where the step says so."""
    found = [_migration(deployment, folder, name) for name in _named(deployment, folder.source)]
    found.sort(key=lambda migration: order_key(migration.name, is_natural=rules.is_natural))
    return found


def _named(deployment: RunningDeployment, source: Path) -> List[str]:
    globs = [deployment.variables.expand(glob, "property files") for glob in deployment.properties["files"]]
    patterns = [compiled_glob(glob) for glob in globs]
    names: List[str] = []
    for place, _, files in os.walk(source):
        for file in files:
            path = Path(place, file)
            name = path.relative_to(source).as_posix()
            if any(pattern.match(name) for pattern in patterns) and path.is_file() and not path.is_symlink():
                names.append(name)
    if not names:
        raise StepFailed(f"no file is named by {', '.join(map(repr, globs))}: nothing to run is taken for a mistake")
    if len(names) > FILES_MAX:
        raise StepFailed(f"{len(names)} files are more than the {FILES_MAX} that a step takes")
    return names


def _migration(deployment: RunningDeployment, folder: _Folder, name: str) -> Migration:
    fault = fault_of_name(name)
    if fault:
        raise StepFailed(f"{name!r} cannot be a migration: {fault}")
    digest, head = _read(folder.source / name)
    path = folder.filled_in / name
    if folder.filled_in != folder.source:
        text = read_text(folder.source / name)[0]
        filled_in = deployment.variables.expand(text, name, strict=True, warn=deployment.warn)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(filled_in.encode("utf-8", "surrogateescape"))
    return Migration(name, path, digest, asks_to_run_alone(head))


def _read(path: Path) -> Tuple[str, str]:
    """A file's SHA-256, and the text at its beginning."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        digest.update(head)
        while piece := stream.read(_COPY_BYTES):
            digest.update(piece)
    return digest.hexdigest(), head.decode("utf-8", "replace")
