"""`manyarm doctor`: looks at what must be right, says what is wrong and what to do; exit 1 if anything is."""

import dataclasses
import json
import os
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.settings import HubSettings, parse_address
from hub.cli.server.starting import settings_of, telling
from hub.daemon import running_state
from hub.errors import HubError

if TYPE_CHECKING:
    from hub.infrastructure.house_spokes import HouseHome
    from hub.storage.vault_master import MasterKey

_DISK_LEAST_BYTES = 2 * 1024**3
_WARN_DAYS = 30
_BACKUP_OLD_H = 26
_POOR = ("unavailable", "unhealthy")
_SKEW_S = 120
_SILENT_S = 60
_SLOW_MS = 600_000
_NAMED = 10
_STATUS_BYTES = 64 * 1024


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do where it is not right."""

    what: str
    verdict: Verdict
    words: str
    cure: str = ""


Look = Callable[[HubSettings], Iterator[Finding]]


@click.command()
@click.pass_context
@telling
def doctor(ctx: click.Context) -> None:
    """Check Python, disk, keys, database, audit chain, broker, spokes and ports."""
    settings = settings_of(ctx.obj["home"])
    wrong = _looked(_AT_THE_MACHINE, settings)
    if _looked((_master_key,), settings):
        # Without its key the data is as good as away: one cause, one finding.
        wrong = True
    else:
        wrong |= _looked(_AT_THE_DATA, settings)
    sys.exit(1 if wrong else 0)


def _looked(looks: tuple[Look, ...], settings: HubSettings) -> bool:
    """Print what the looks find; whether anything is wrong."""
    wrong = False
    for look in looks:
        for finding in _findings(look, settings):
            wrong |= finding.verdict is Verdict.WRONG
            click.echo(f"{finding.verdict:<6} {finding.what}: {finding.words}")
            if finding.cure:
                click.echo(f"       {finding.cure}")
    return wrong


def _findings(look: Look, settings: HubSettings) -> Iterator[Finding]:
    """What a look finds; one that fails is a finding itself, so that the others are still made."""
    name = look.__name__.strip("_").replace("_", " ")
    try:
        yield from look(settings)
    except HubError as error:
        yield Finding(name, Verdict.WRONG, error.detail)
    except Exception as error:  # noqa: BLE001  The top of a loop: whatever one look meets, the next one is made.
        yield Finding(name, Verdict.WRONG, f"{type(error).__name__}: {error}")


def _python(_: HubSettings) -> Iterator[Finding]:
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    verdict, cure = (Verdict.OK, "") if fits else (Verdict.WARN, "use Python 3.11, 3.12 or 3.13")
    yield Finding("Python", verdict, sys.version.split()[0], cure)


def _disk(settings: HubSettings) -> Iterator[Finding]:
    there = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free = shutil.disk_usage(there).free
    words = f"{free / 1024**3:.1f} GiB free in {there}"
    if free < _DISK_LEAST_BYTES:
        yield Finding("disk", Verdict.WRONG, words, "make room: below 1 GiB the broker takes no message")
    else:
        yield Finding("disk", Verdict.OK, words)


def _master_key(settings: HubSettings) -> Iterator[Finding]:
    from hub.storage.key_check import unlock

    master = unlock(settings.master_key_source, settings.home, settings.database, finish=False)
    yield from _half_rotated(settings, master)
    yield Finding("master key", Verdict.OK, f"{master.id} fits the data ({settings.master_key_source.split(':')[0]})")
    if settings.master_key_source.startswith("env:"):
        cure = "prefer file: or systemd-credential:, which children do not inherit"
        yield Finding("master key", Verdict.WARN, "comes from the environment", cure)


def _half_rotated(settings: HubSettings, master: "MasterKey") -> Iterator[Finding]:
    """What a rotation of the master key that was killed has left."""
    from hub.storage.vault_rotation import half_way

    found = half_way(settings.master_key_source, settings.home, master.check)
    if found is None:
        return
    if found.counts:
        words = f"its rotation was interrupted after it counted: the key that fits lies in {found.path}"
        yield Finding("master key", Verdict.WARN, words, "start the hub: it finishes what was begun")
    else:
        words = f"its rotation was interrupted before it counted: {found.path} opens nothing"
        yield Finding("master key", Verdict.WARN, words, f"`manyarm key rotate-master` again, or remove {found.path}")


def _backups(_: HubSettings) -> Iterator[Finding]:
    """How old the newest one is that was made here, and whether this hub is one that was restored."""
    from hub.backup.new_epoch import moment
    from hub.queries.backups import newest_backup_ms, restored
    from hub.storage.database import connection
    from hub.storage.hub_trust import EPOCH_WAITS

    with connection():
        newest, found = newest_backup_ms(), restored()
    cure = "manyarm backup create FILE, each night, to another machine"
    if newest is None:
        yield Finding("backup", Verdict.WARN, "none was made yet", cure)
    else:
        hours = int(time.time() - newest / 1000) // 3600
        fresh = hours < _BACKUP_OLD_H
        words = f"the newest was made {moment(newest)}, {hours} h ago"
        yield Finding("backup", Verdict.OK if fresh else Verdict.WARN, words, "" if fresh else cure)
    if found is not None:
        words = f"the hub was restored {moment(found.at)} from a backup of {moment(found.since)}; epoch {found.epoch}"
        verdict, cure = (Verdict.OK, "") if found.in_force else (Verdict.WRONG, EPOCH_WAITS)
        yield Finding("restored", verdict, words, cure)


def _database(settings: HubSettings) -> Iterator[Finding]:
    from hub.storage.database import connection, open_database
    from hub.storage.hub_keys import public_keys
    from hub.storage.hub_trust import installation, trust_chain
    from hub.storage.models import HubKey
    from wire.roles import Role

    open_database(settings.database)
    with connection():
        hub = installation()
        chain = trust_chain()
        yield Finding("database", Verdict.OK, f"hub {hub.hub_id}, trust document {chain.version}")
        days = (chain.document.expires - int(datetime.now(UTC).timestamp())) // 86_400
        verdict = Verdict.OK if days > _WARN_DAYS else Verdict.WRONG if days < 0 else Verdict.WARN
        cure = "" if verdict is Verdict.OK else "it is renewed by itself with the root in the hub; else: see root key"
        yield Finding("trust document", verdict, f"ends in {days} days", cure)
        held = HubKey.select().where(HubKey.role == Role.HUB_ROOT, HubKey.private_sealed.is_null(False)).exists()
        if held and public_keys(Role.HUB_ROOT):
            cure = "manyarm key export-root FILE, and keep the file offline"
            yield Finding("root key", Verdict.WARN, "lies in the hub", cure)
        yield from _keys()


def _keys() -> Iterator[Finding]:
    """What waits for the offline root, and spokes that live twice."""
    from hub.queries.keys import keys
    from hub.storage.models import Spoke, SpokeConflict

    waiting = keys().waiting
    if waiting is not None:
        words = f"trust document {waiting.version} waits for the root key: {'; '.join(waiting.reasons)}"
        yield Finding("root key", Verdict.WARN, words, "manyarm key sign-trust --root FILE")
    for conflict in SpokeConflict.select():
        spoke = Spoke.get_or_none(Spoke.id == conflict.spoke, Spoke.state == "trusted")
        if spoke is not None:
            cure = f"manyarm spoke revoke {spoke.name}, then enrol the machine that is yours anew"
            yield Finding(f"spoke {spoke.name}", Verdict.WRONG, conflict.words, cure)


def _audit_chain(settings: HubSettings) -> Iterator[Finding]:
    from hub.cli.server.audit import verified

    result = verified(settings)
    if result.ok:
        yield Finding("audit chain", Verdict.OK, f"{result.events} events")
    else:
        yield Finding(
            "audit chain", Verdict.WRONG, f"event {result.first_bad_seq}: {result.reason}", "manyarm audit verify"
        )


def _users(settings: HubSettings) -> Iterator[Finding]:
    if hasattr(os, "geteuid"):
        words = "all parts run as one OS user: that separates processes, not users"
        yield Finding("OS user", Verdict.WARN, words, "the shipped systemd units give each part its own key alone")
    key = Path(settings.master_key_source.removeprefix("file:"))
    if settings.master_key_source.startswith("file:") and key.exists() and key.stat().st_mode & 0o077:
        yield Finding("key file", Verdict.WRONG, f"{key} can be read by others", f"chmod 600 {key}")


def _parts(settings: HubSettings) -> Iterator[Finding]:
    state = running_state(settings.home)
    if state is None:
        yield Finding("parts", Verdict.WARN, "nothing runs from this home", "manyarm up")
        return
    yield Finding("parts", Verdict.OK, f"run since `manyarm up`: {state.get('portal')}")
    for name, bind in (("portal", settings.portal_bind), ("gateway", settings.gateway_bind)):
        host, port = parse_address(bind)
        with socket.socket() as probe:
            probe.settimeout(3)
            answers = probe.connect_ex(("127.0.0.1" if host in {"0.0.0.0", ""} else host, port)) == 0  # noqa: S104
        words = f"{bind} {'answers' if answers else 'does not answer'}"
        cure = "" if answers else f"look at {settings.home}/run/{name}.log"
        yield Finding(name, Verdict.OK if answers else Verdict.WRONG, words, cure)


def _broker(settings: HubSettings) -> Iterator[Finding]:
    from hub.broker import endpoint
    from hub.broker.probe import denials
    from hub.cli.server.local_engine import local_engine
    from hub.storage.hub_trust import trust_chain

    if not settings.broker_url and running_state(settings.home) is None:
        return
    with local_engine(settings) as here:
        admin = endpoint.administrator(_with_node(settings), here.vault)
        alarms = admin.alarms()
        if alarms:
            cure = "free memory or disk on its machine: until then it takes no message"
            yield Finding("broker", Verdict.WRONG, f"alarm: {', '.join(alarms)}", cure)
        else:
            yield Finding("broker", Verdict.OK, "answers, no alarm")
        allowed = denials(admin, endpoint.endpoint(settings).url, tls=endpoint.tls_context(settings, trust_chain()))
        if allowed:
            yield Finding(
                "broker fence", Verdict.WRONG, f"a spoke may: {'; '.join(allowed)}", "set its permissions anew"
            )
        else:
            yield Finding("broker fence", Verdict.OK, "a spoke may do nothing but its own work")


def _with_node(settings: HubSettings) -> HubSettings:
    """The settings with the address of the private node's HTTP API, as the node wrote it down."""
    if settings.broker_admin_url or settings.broker_url:
        return settings
    recorded = json.loads((settings.home / "broker" / "node.json").read_text())
    return dataclasses.replace(settings, broker_admin_url=f"http://127.0.0.1:{recorded['ports']['management']}")


def _spokes(settings: HubSettings) -> Iterator[Finding]:
    from hub.storage.database import connection, open_database
    from hub.storage.models import Spoke, Target

    open_database(settings.database)
    with connection():
        pending = Spoke.select().where(Spoke.state == "pending").count()
        if pending:
            yield Finding("spokes", Verdict.WARN, f"{pending} wait for approval", "manyarm spoke list")
        for target in Target.select().where(Target.disabled_at.is_null(), Target.health.in_(_POOR)):
            words = f"{target.health}: {target.health_reason}"
            yield Finding(f"target {target.name}", Verdict.WARN, words, "look at its spoke's log")
        for spoke in Spoke.select().where(Spoke.state == "trusted"):
            if abs(spoke.clock_skew_s) > _SKEW_S:
                words = f"{spoke.clock_skew_s:.0f} s off"
                yield Finding(f"clock of {spoke.name}", Verdict.WARN, words, "set the time there")
        yield Finding("targets", Verdict.OK, f"{Target.select().where(Target.health == 'healthy').count()} healthy")


def _what_waits(settings: HubSettings) -> Iterator[Finding]:
    """Tasks that nobody looks after, and messages that stay where they are."""
    from hub.orchestrator import waiting
    from hub.storage.database import connection, open_database
    from hub.storage.models import Task, now_ms

    open_database(settings.database)
    at_ms = now_ms()
    with connection():
        for task in Task.select().where(waiting.is_unattended(at_ms)).limit(_NAMED):
            words = waiting.of_task(task, at_ms)[0].sentence
            yield Finding(f"task {task.title}", Verdict.WRONG, words, "manyarm up, or manyarm hub")
        slow = [wait for wait in waiting.of_outbox(at_ms) if at_ms - wait.since_ms > _SLOW_MS]
        for wait in slow[:_NAMED]:
            yield Finding("outbox", Verdict.WARN, wait.sentence, f"look at {wait.owner}")
        more = f", {len(slow) - _NAMED} more wait" if len(slow) > _NAMED else ""
        yield Finding("outbox", Verdict.OK, f"{len(slow)} messages have waited for more than 10 min{more}")


def _nodes(settings: HubSettings) -> Iterator[Finding]:
    """The engines on this database, wherever they run."""
    from hub.queries.nodes import all_nodes
    from hub.storage.database import connection, open_database

    open_database(settings.database)
    with connection():
        found = all_nodes().items
    for node in found:
        words = f"works since {node.since}, release {node.software}"
        if node.is_there:
            yield Finding(f"node {node.name}", Verdict.OK, f"{words}, alone: {', '.join(node.alone) or 'nothing'}")
        else:
            yield Finding(f"node {node.name}", Verdict.WARN, "is silent; its work is taken over", "see its machine")
    if len({node.software for node in found if node.is_there}) > 1:
        cure = "bring all nodes to one release: two side by side are for the moment of an upgrade"
        yield Finding("nodes", Verdict.WARN, "they run different releases", cure)


def _house_spokes(settings: HubSettings) -> Iterator[Finding]:
    """Those that `manyarm up` keeps beside the hub."""
    from hub.infrastructure.house_spokes import house_homes
    from hub.states import SpokeKind
    from hub.storage.database import connection, open_database
    from hub.storage.hub_trust import installation

    if running_state(settings.home) is None:
        return
    open_database(settings.database)
    with connection():
        for home in house_homes(settings, installation().hub_id):
            yield _standing(settings, home)
            if home.kind is SpokeKind.LOCAL:
                yield from _of_the_local_spoke(home)


def _standing(settings: HubSettings, home: "HouseHome") -> Finding:
    from hub.infrastructure.house_spokes import house_spoke
    from hub.states import SpokeState

    what, spoke = f"house spoke {home.kind}", house_spoke(home)
    logs = f"look at {settings.home}/run/{home.kind}.err and at its log"
    if spoke is None:
        return Finding(what, Verdict.WARN, "has not joined yet", logs)
    if spoke.state != SpokeState.TRUSTED:
        cure = f"to have another one: end `manyarm up`, remove {home.root}, start again"
        return Finding(what, Verdict.WARN, f"is {spoke.state}", cure)
    silent_s = time.time() - (spoke.last_seen_at or 0) / 1000
    if silent_s > _SILENT_S:
        return Finding(what, Verdict.WARN, "does not say that it is there", logs)
    return Finding(what, Verdict.OK, f"is there as {spoke.name}")


def _of_the_local_spoke(home: "HouseHome") -> Iterator[Finding]:
    """Whose rights a script on the hub has, and whether there is a Python for it."""
    from hub.infrastructure.display_names import shown

    said = said_by_a_stranger(home.root / "run" / "status.json")
    if "os_user" not in said:
        return
    user = shown(str(said["os_user"]))
    if os.geteuid() != 0:
        words = f"scripts on the hub run as {user}, the hub's own user, and can read what it can"
        yield Finding("local spoke's user", Verdict.WARN, words, "let root run `manyarm up`, or see docs/install.md")
    else:
        yield Finding("local spoke's user", Verdict.OK, f"scripts on the hub run as {user}")
    if not said.get("python"):
        words = f"there is none of 3.9 or later that {user} may run"
        yield Finding("local spoke's Python", Verdict.WRONG, words, "install python3 for all users")


def said_by_a_stranger(file: Path) -> dict[str, object]:
    """A small JSON object in a folder where scripts may put anything; {} where it is something else."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            is_plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
            found = json.loads(stream.read(_STATUS_BYTES)) if is_plain else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _row_seals(settings: HubSettings) -> Iterator[Finding]:
    """Rows that grant trust, each as the engine has sealed it."""
    from hub.cli.server.local_engine import local_engine
    from hub.storage.models import ALL_TABLES
    from hub.storage.models.table import SealedTable

    with local_engine(settings) as here:
        count = 0
        for model in ALL_TABLES:
            if issubclass(model, SealedTable):
                for row in model.select().iterator():
                    here.seals.check(row)
                    count += 1
    yield Finding("row seals", Verdict.OK, f"{count} rows are as the hub wrote them")


def _events_for_others(_: HubSettings) -> Iterator[Finding]:
    """Those that integrations hear over AMQP: made of every event row, and confirmed by the broker."""
    from hub.queries.integration import waiting_events
    from hub.storage.database import connection
    from hub.storage.models import now_ms

    with connection():
        count, since_ms = waiting_events()
    late_s = (now_ms() - since_ms) // 1000
    if count and late_s > _SILENT_S:
        words = f"{count} wait for the broker, the oldest for {late_s // 60} min; none is lost, and they go in order"
        yield Finding("events for others", Verdict.WARN, words, "see broker above, or start the hub")
    else:
        yield Finding(
            "events for others", Verdict.OK, "all are published" if not count else f"{count} are on their way"
        )


_AT_THE_MACHINE: tuple[Look, ...] = (_python, _disk, _users, _parts)
_AT_THE_DATA: tuple[Look, ...] = (
    _database,
    _backups,
    _row_seals,
    _audit_chain,
    _broker,
    _nodes,
    _events_for_others,
    _spokes,
    _what_waits,
    _house_spokes,
)
