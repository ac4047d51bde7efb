"""`manyarm-spoke`: the command line on a target."""

# isort: off
from spokes import floor  # noqa: F401  First: it ends what an old Python could not even import.

# isort: on
import argparse
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from config import parent
from config.errors import SettingsInvalid
from config.logging import set_up
from config.settings import SpokeSettings
from spokes import listening, polling
from spokes.agent import os_user
from spokes.agent.enrolment import Enroller, Wish, join_names
from spokes.agent.errors import NoSuchUser, NotEnrolled, SpokeError
from spokes.agent.gateway import Gateway
from spokes.agent.home import SpokeHome
from spokes.agent.house import JoinCodeFile, is_enrolled_at_sight, join
from spokes.agent.identity import IdentityStore
from spokes.agent.kind import SpokeKind
from spokes.agent.runner_python import runner_python
from wire.errors import Refused
from wire.join_code import JoinCode
from wire.keys import parse_thumbprint, thumbprint, thumbprint_of_digest

_USAGE, _INTERRUPTED = 2, 130
_FRESH_S = 15


@dataclass(frozen=True, slots=True)
class Beside:
    """A kind that stands beside the hub: the module that offers it as KIND, and the name that it joins under.

    `os_user`: what it becomes where root has started it.
    """

    module: str
    name: str
    help: str
    os_user: str = ""


# Imported when it is asked for: a spoke on a target needs none of what these need.
BESIDE_THE_HUB = {
    "local": Beside("spokes.local", "hub", "serve steps on the hub's machine, and what is no machine", "manyarm-local"),
    "relay": Beside("spokes.relaying.kind", "hub-relay", "dial listening spokes and carry their mail"),
    "ssh": Beside("spokes.ssh_spoke", "hub-ssh", "serve the targets that are reached by SSH"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 failed, 2 usage, 3 not allowed, 4 not found, 5 hub not
    reachable, 6 timed out, 130 interrupted.
    """
    chosen = _parser().parse_args(arguments)
    os.umask(0o077)
    # A core file would hold keys.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        chosen.prepare(chosen)
        settings = SpokeSettings.load(chosen.home)
        set_up(settings.log_level, settings.log_style, "spoke")
        status: int = chosen.command(settings, chosen)
    except (SpokeError, Refused, SettingsInvalid) as error:
        print(f"manyarm-spoke: {error}", file=sys.stderr)
        return _status_of(error)
    except OSError as error:
        print(f"manyarm-spoke: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("manyarm-spoke: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="manyarm-spoke", description="Carries work from a Manyarm hub to this machine.", allow_abbrev=False
    )
    parser.add_argument("--home", type=Path, help="the spoke's home (default: MANYARM_SPOKE_HOME)")
    parser.set_defaults(prepare=lambda _: None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    enrol = commands.add_parser("enrol", help="join a hub with a join code", allow_abbrev=False)
    enrol.add_argument("code", metavar="JOIN-CODE", help="as the administrator gave it: maj1-…; - reads it from a pipe")
    enrol.add_argument("--name", required=True, help="what people will call this machine")
    enrol.add_argument("--role", action="append", default=[], help="a role it asks for; may be given again")
    enrol.add_argument("--environment", action="append", default=[], help="an environment it asks for; as --role")
    enrol.add_argument("--hub", metavar="HOST:PORT", help="the gateway, if not the one that the code names")
    enrol.add_argument("--listen", metavar="HOST:PORT", help="listen there for a relay, and do not dial the broker")
    enrol.add_argument("--address", metavar="HOST:PORT", help="where the relay finds it, if not where it listens")
    enrol.add_argument("--wait", type=float, metavar="SECONDS", help="give up waiting for approval (exit 6)")
    enrol.set_defaults(command=_enrol)

    run = commands.add_parser("run", help="serve until told to stop", allow_abbrev=False)
    run.add_argument("--listen", metavar="HOST:PORT", help="where a listening spoke listens")
    run.set_defaults(command=_run)

    for name, beside in BESIDE_THE_HUB.items():
        serve = commands.add_parser(name, help=f"beside the hub: {beside.help}", allow_abbrev=False)
        serve.add_argument(
            "--join-file",
            type=JoinCodeFile.at,
            metavar="FILE",
            help="where a join code is, or will be, for a home that is new",
        )
        serve.add_argument("--name", default=beside.name, help=f"what it joins as (default: {beside.name})")
        if beside.os_user:
            serve.add_argument(
                "--os-user",
                default=beside.os_user,
                metavar="USER",
                help=f"what it becomes if root has started it (default: {beside.os_user})",
            )
        serve.set_defaults(prepare=_prepare_beside, command=_beside, module=beside.module, os_user=beside.os_user)

    who = commands.add_parser("thumbprint", help="who this spoke is", allow_abbrev=False)
    who.set_defaults(command=_thumbprint)

    trust = commands.add_parser("trust", help="name the hub that this machine may join", allow_abbrev=False)
    trust.add_argument("root", metavar="ROOT-THUMBPRINT", help="SHA256:… as the hub shows it")
    trust.set_defaults(command=_trust)

    status = commands.add_parser("status", help="session, jobs, last contact", allow_abbrev=False)
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(command=_status)
    return parser


def _enrol(settings: SpokeSettings, chosen: argparse.Namespace) -> int:
    text = sys.stdin.readline() if chosen.code == "-" else chosen.code
    code = JoinCode.parse(text.strip())
    if chosen.wait is not None and chosen.wait < 0:
        print("manyarm-spoke: --wait is a number of seconds from 0 on", file=sys.stderr)
        return _USAGE
    if chosen.address and not chosen.listen:
        print("manyarm-spoke: --address is for a spoke that listens: give --listen too", file=sys.stderr)
        return _USAGE
    address = chosen.hub or code.address
    # Before anything is asked of the hub: a target that can run no job is found out here, and not by its first one.
    python = runner_python(settings.runner_python)
    home = SpokeHome(settings.home)
    home.make()
    wish = replace(_wish(home, chosen), runner_python=python.shown)
    lock = home.hold()
    gateway = Gateway(address, timeout_s=settings.limits.gateway_timeout_s, proxy=settings.https_proxy)
    print(f"The hub must show root {thumbprint_of_digest(code.root_thumbprint)}; asking {address}", flush=True)
    try:
        made = Enroller(home, gateway, say=lambda line: print(line, flush=True)).enrol(
            code, wish, gateway=address, wait_s=chosen.wait
        )
    finally:
        lock.release()
    print(f"Enrolled as {made.name} ({made.spoke_id}). Now run: manyarm-spoke --home {settings.home} run")
    return 0


def _wish(home: SpokeHome, chosen: argparse.Namespace) -> Wish:
    wish = Wish(chosen.name, join_names(chosen.role), join_names(chosen.environment), polling.KIND.name)
    if not chosen.listen:
        return wish
    kind = listening.KIND
    found = listening.checked_addresses(chosen.listen, chosen.address or chosen.listen)
    return replace(wish, kind=kind.name, tls_spki=kind.tls_pin(home), listen=found.listen, address=found.address)


def _run(settings: SpokeSettings, chosen: argparse.Namespace) -> int:
    if chosen.listen:
        settings = replace(settings, listen=chosen.listen)
    return _kind_of(settings).serve(settings)


def _kind_of(settings: SpokeSettings) -> SpokeKind:
    """As it was enrolled; who is not enrolled and was told to listen waits to be introduced."""
    try:
        enrolled = IdentityStore(SpokeHome(settings.home)).enrolment().kind
    except NotEnrolled:
        return listening.KIND if settings.listen else polling.KIND
    return listening.KIND if enrolled == listening.KIND.name else polling.KIND


def _prepare_beside(chosen: argparse.Namespace) -> None:
    """Before anything of the home is read: whoever has been another user there may have put anything into it."""
    parent.leave_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    if not chosen.os_user or os.geteuid() != 0:
        return
    if chosen.home is None:
        raise NoSuchUser(f"say with --home where {chosen.os_user} is to work")
    user = os_user.find_or_make(chosen.os_user)
    os_user.give_home(chosen.home, user)
    if chosen.join_file is not None and not is_enrolled_at_sight(chosen.home):
        chosen.join_file.hold()
    os_user.import_everything([chosen.module])
    os_user.become(user, chosen.home)


def _beside(settings: SpokeSettings, chosen: argparse.Namespace) -> int:
    kind: SpokeKind = importlib.import_module(chosen.module).KIND
    if chosen.join_file is not None:
        home = SpokeHome(settings.home)
        home.make()
        join(settings, Wish(chosen.name, kind=kind.name, tls_spki=kind.tls_pin(home)), chosen.join_file)
    return kind.serve(settings)


def _thumbprint(settings: SpokeSettings, _: argparse.Namespace) -> int:
    signing = IdentityStore(SpokeHome(settings.home)).signing_key()
    print(thumbprint(signing.verify_key.pk))
    return 0


def _trust(settings: SpokeSettings, chosen: argparse.Namespace) -> int:
    root = parse_thumbprint(chosen.root)
    home = SpokeHome(settings.home)
    home.make()
    store = IdentityStore(home)
    try:
        known = store.enrolment().root
    except NotEnrolled:
        store.require_root(root)
        print(f"This machine joins no hub but the one with root {thumbprint_of_digest(root)}.")
        return 0
    if known == root:
        print(f"This spoke trusts that hub already: root {thumbprint_of_digest(root)}.")
        return 0
    print(
        f"manyarm-spoke: this spoke trusts the hub with root {thumbprint_of_digest(known)}, which is not "
        f"{thumbprint_of_digest(root)}; to change hubs, enrol anew in an empty home",
        file=sys.stderr,
    )
    return 3


def _status(settings: SpokeSettings, chosen: argparse.Namespace) -> int:
    """0 while a daemon serves and has a session, else 1."""
    home = SpokeHome(settings.home)
    store = IdentityStore(home)
    enrolment = store.enrolment()
    try:
        found = json.loads(home.status.read_bytes())
    except (OSError, ValueError):
        found = {}
    running = time.time() - found.get("at", 0) < _FRESH_S
    shown = {
        "name": enrolment.name,
        "spoke": enrolment.spoke_id,
        "hub": enrolment.hub_id,
        "thumbprint": thumbprint(store.signing_key().verify_key.pk),
        "root": thumbprint_of_digest(enrolment.root),
        "running": running,
        **found,
    }
    if chosen.json:
        print(json.dumps(shown))
    else:
        for name, value in shown.items():
            print(f"{name.replace('_', ' '):14} {_shown(value)}")
    return 0 if running and found.get("session") else 1


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return ", ".join(map(str, value.items() if isinstance(value, dict) else value)) or "none"
    return str(value) if value not in ("", None) else "-"


def _status_of(error: Exception) -> int:
    if isinstance(error, SpokeError):
        return error.exit_status
    if isinstance(error, SettingsInvalid):
        return _USAGE
    return 3


if __name__ == "__main__":
    sys.exit(main())
