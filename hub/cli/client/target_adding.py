"""`manyarm target add-…`: adds machines that no spoke stands on, and confirms the host keys of those reached by SSH."""

import sys
import time

import click

from hub.cli.client.following import ENDED
from hub.cli.client.hub_api import HubApi, Json, api, part
from hub.cli.client.printing import plain
from hub.cli.ending import CommandFailed, Status

_SCAN_WAIT_S = 90.0
_PAUSE_S = 0.3
_ROLE = click.option("--role", "roles", multiple=True, help="A role that the target gets.")
_ENVIRONMENT = click.option("--environment", "environments", multiple=True, help="An environment that it stands in.")


@click.command(name="add-ssh")
@click.argument("name")
@click.argument("host")
@click.option("--account", required=True, help="The account that logs in: an SSH key or a password.")
@click.option("--user", default=None, help="Logs in as; the account's own user when left out.")
@click.option("--host-key", help="The public host key, compared by you: 'ssh-ed25519 AAAA…'. Scanned when left out.")
@click.option("--home", help="Where Manyarm keeps its files there.  [default: ~/.manyarm]")
@click.option("--python", help="The Python 3.9 or later to use there; found when left out.")
@_ROLE
@_ENVIRONMENT
@click.pass_context
def add_ssh(ctx: click.Context, /, name: str, host: str, **given: str | tuple[str, ...] | None) -> None:
    """Add machine NAME that is reached by SSH at HOST[:PORT], and confirm its host key."""
    hub = api(ctx.obj["url"])
    address, port = _apart(host)
    body = {"kind": "ssh", "name": name, "host": address, "port": port, **_given(given)}
    made = hub.post("/targets", body)
    click.echo(f"{name} added", err=True)
    if made["endpoint"]["fingerprint"]:
        click.echo(f"{name} is pinned to {made['endpoint']['fingerprint']}")
        return
    _scan_and_ask(hub, name)


@click.command(name="add-listening")
@click.argument("name")
@click.argument("address")
@click.option("--thumbprint", required=True, help="What `manyarm-spoke thumbprint` printed on the machine.")
@_ROLE
@_ENVIRONMENT
@click.pass_context
def add_listening(ctx: click.Context, /, name: str, address: str, **given: str | tuple[str, ...] | None) -> None:
    """Add machine NAME whose spoke listens at ADDRESS (HOST:PORT); the relay dials it."""
    hub = api(ctx.obj["url"])
    made = hub.post("/targets", {"kind": "listening", "name": name, "address": address, **_given(given)})
    click.echo(f"{name} added; the relay dials {made['endpoint']['address']}")


@click.command(name="add-cloud")
@click.argument("name")
@click.option("--account", required=True, help="The account whose credentials the steps get.")
@click.option("--region", default=None)
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="Whatever its steps need to know.")
@_ROLE
@_ENVIRONMENT
@click.pass_context
def add_cloud(
    ctx: click.Context, /, name: str, properties: tuple[str, ...], **given: str | tuple[str, ...] | None
) -> None:
    """Add NAME, which is no machine: steps for it run on the hub with the account's credentials."""
    pairs = dict(_pair(text) for text in properties)
    body = {"kind": "cloud", "name": name, "properties": pairs, **_given(given)}
    api(ctx.obj["url"]).post("/targets", body)
    click.echo(f"{name} added")


@click.command(name="confirm-host-key")
@click.argument("name")
@click.option("--fingerprint", help="What `ssh-keygen -lf` printed on the machine's console; asked for when left out.")
@click.pass_context
def confirm_host_key(ctx: click.Context, name: str, fingerprint: str | None) -> None:
    """Look at the host key of NAME again, and pin it once you have compared it."""
    hub = api(ctx.obj["url"])
    if fingerprint is None:
        _scan_and_ask(hub, name)
        return
    _scanned(hub, name)
    _confirm(hub, name, fingerprint.strip())


def _scan_and_ask(hub: HubApi, name: str) -> None:
    """Show the key that the machine shows; only a person at a terminal says that it is the right one."""
    found = _scanned(hub, name)
    kind = found["scanned"].split()[0].removeprefix("ssh-").partition("-")[0]
    before = f"  pinned until now: {found['confirmed_fingerprint']}\n" if found["confirmed"] else ""
    click.echo(
        f"{name} shows this host key:\n  {found['scanned_fingerprint']} ({kind})\n{before}"
        f"Compare it on the machine's own console:\n  ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub",
        err=True,
    )
    later = f"manyarm target confirm-host-key {name} --fingerprint {found['scanned_fingerprint']}"
    if not sys.stdin.isatty():
        raise CommandFailed(f"not confirmed, so nothing runs on {name} yet; after comparing: {later}", Status.USAGE)
    if not click.confirm("Are the two the same?", err=True):
        raise CommandFailed(f"not confirmed: nothing runs on {name}", Status.NOT_ALLOWED)
    _confirm(hub, name, found["scanned_fingerprint"])


def _confirm(hub: HubApi, name: str, fingerprint: str) -> None:
    hub.post(f"/targets/{part(name)}/confirm-host-key", {"fingerprint": fingerprint})
    click.echo(f"{name} is pinned to {fingerprint}")


def _scanned(hub: HubApi, name: str) -> Json:
    """The key that a scan of this moment found."""
    task = hub.post(f"/targets/{part(name)}/scan-host-key", {})["task"]
    click.echo(f"looking at {name} …", err=True)
    end = time.monotonic() + _SCAN_WAIT_S
    found = hub.get(f"/tasks/{task}")
    while found["state"] not in ENDED and time.monotonic() < end:
        time.sleep(_PAUSE_S)
        found = hub.get(f"/tasks/{task}")
    again = f"when that is mended: manyarm target confirm-host-key {name}"
    if found["state"] not in ENDED:
        why = found.get("waiting_for") or "the ssh spoke has not answered; see manyarm doctor"
        raise CommandFailed(f"no key yet: {plain(why)}\n{again}", Status.TIMED_OUT)
    shown = hub.get(f"/targets/{part(name)}/host-key")
    if found["state"] != "succeeded" or shown["scan_task"] != task:
        why = plain(found.get("failure") or "the machine showed no key")
        raise CommandFailed(f"no key was found: {why}\n{again}", Status.TASK_FAILED)
    return shown


def _given(given: dict[str, str | tuple[str, ...] | None]) -> Json:
    """What was typed, without what was not."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}


def _apart(host: str) -> tuple[str, int]:
    """HOST, HOST:PORT or [V6]:PORT; the hub judges the rest."""
    name, port = host, "22"
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif host.count(":") == 1:
        name, _, port = host.partition(":")
    if not (port.isascii() and port.isdigit()):
        raise CommandFailed(f"{host}: expected HOST or HOST:PORT", Status.USAGE)
    return name, int(port)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise CommandFailed(f"{text}: expected NAME=VALUE", Status.USAGE)
    return name, value
