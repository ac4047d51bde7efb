"""Adding a target, kind by kind, with commands to paste; and the host key of an SSH machine, shown to be compared."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.errors import HubError, StepUpNeeded
from hub.permissions import Permission
from hub.queries import accounts, environments, infrastructure, tasks
from hub.queries.listing import Slice
from hub.storage.database import connection
from portal.asking import Refused, StillAsked, change
from portal.forms import said

pages = Blueprint("adding", __name__, url_prefix="/targets")

_SSH_ACCOUNTS = frozenset({"ssh-key", "password"})
_PROPERTIES_SHOWN = 4
_TEXTS = {
    "ssh": ("name", "host", "user", "account", "host_key"),
    "listening": ("name", "address", "thumbprint"),
    "cloud": ("name", "account", "region"),
}


@pages.get("/add")
@permission(Permission.TARGET_EDIT)
def index() -> ResponseReturnValue:
    return render_template("add_target.html", joins=g.caller.may_somewhere(Permission.JOIN_CODE_EDIT))


@pages.get("/add/<any(ssh, listening, cloud):kind>")
@permission(Permission.TARGET_EDIT)
def form(kind: str) -> ResponseReturnValue:
    return _form(kind, request.args)


@pages.post("/add/<any(ssh, listening, cloud):kind>")
@permission(Permission.TARGET_EDIT)
def add(kind: str) -> ResponseReturnValue:
    try:
        made = change("target.create", _wanted(kind))
    except StepUpNeeded:
        own = {"csrf_token", "once", "back"}
        typed: Any = {name: request.form.getlist(name) for name in request.form if name not in own}
        return redirect(url_for("login.prove_again", next=url_for("adding.form", kind=kind, **typed)), 303)
    except (Refused, StillAsked) as error:
        return _form(kind, request.form, error)
    if kind != "ssh":
        return said(url_for("targets.show", target=made["name"]), "The target is added.")
    if made["endpoint"]["fingerprint"]:
        return said(url_for("targets.show", target=made["name"]), "The target is added, with the key that you gave.")
    return _scan(made["name"])


@pages.get("/<target>/host-key")
@permission(Permission.TARGET_VIEW)
def host_key(target: str) -> ResponseReturnValue:
    with connection():
        found = infrastructure.target(target)
        shown = infrastructure.host_key(target)
        scan = _scan_task(request.args.get("scan", ""), shown.scan_task)
    return render_template(
        "host_key.html", target=found, key=shown, scan=scan, key_file=_key_file(shown.scanned), waits=_waits(scan)
    )


@pages.post("/<target>/scan-host-key")
@permission(Permission.TARGET_CHECK)
def scan(target: str) -> ResponseReturnValue:
    return _scan(target)


@pages.post("/<target>/confirm-host-key")
@permission(Permission.TARGET_EDIT)
def confirm(target: str) -> ResponseReturnValue:
    wanted = {"target": target, "fingerprint": request.form.get("fingerprint", "")}
    try:
        change("target.confirm-host-key", wanted)
    except (Refused, StillAsked) as error:
        return _refused(url_for("adding.host_key", target=target), error)
    return said(url_for("targets.show", target=target), "The host key is pinned; work may go there.")


def _scan(target: str) -> ResponseReturnValue:
    try:
        task = change("target.scan-host-key", {"target": target})["task"]
    except (Refused, StillAsked) as error:
        return _refused(url_for("adding.host_key", target=target), error)
    return redirect(url_for("adding.host_key", target=target, scan=task), 303)


def _scan_task(asked: str, last: str | None) -> Any:
    """The task of the scan that was asked for here, or else of the last one."""
    for task in filter(None, (asked, last)):
        try:
            return tasks.task(g.caller, task)
        except HubError:
            continue
    return None


def _waits(scan: Any) -> bool:
    return scan is not None and scan.ended_at is None


def _key_file(host_key: str | None) -> str:
    """Where the machine keeps the key that it showed."""
    kind = (host_key or "ssh-ed25519").split()[0].removeprefix("ssh-").partition("-")[0]
    return f"/etc/ssh/ssh_host_{kind}_key.pub"


def _wanted(kind: str) -> dict[str, Any]:
    """The form as the operation's body; what was left empty is not said."""
    form = request.form
    wanted: dict[str, Any] = {name: form.get(name, "").strip() for name in _TEXTS[kind] if form.get(name, "").strip()}
    wanted |= {
        "kind": kind,
        "name": form.get("name", "").strip(),
        "roles": form.get("roles", "").replace(",", " ").split(),
        "environments": form.getlist("environment"),
    }
    if kind == "ssh" and form.get("port", "").strip():
        port = form["port"].strip()
        wanted["port"] = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if kind == "cloud":
        named = zip(form.getlist("property"), form.getlist("value"), strict=False)
        wanted["properties"] = {name.strip(): value for name, value in named if name.strip()}
    return wanted


def _form(kind: str, filled: Mapping[str, str], error: HubError | None = None) -> ResponseReturnValue:
    with connection():
        sees = g.caller.may_somewhere(Permission.ACCOUNT_VIEW)
        known = accounts.all_accounts(Slice(limit=1000)).items if sees else []
        page = render_template(
            f"add_{kind}.html",
            environments=[row.name for row in environments.environments(Slice(limit=1000)).items],
            accounts=[row for row in known if (row.kind in _SSH_ACCOUNTS) == (kind == "ssh")],
            filled=filled,
            error=error,
            properties=range(_PROPERTIES_SHOWN),
        )
    return page, error.status if error else 200


def _refused(back: str, error: Refused | StillAsked) -> ResponseReturnValue:
    return said(back, error.detail, "wait" if isinstance(error, StillAsked) else "bad")
