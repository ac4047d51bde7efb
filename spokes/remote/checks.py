"""What an ssh spoke answers without a run: is the target fit, and which key does a host show."""

from dataclasses import replace

from spokes.agent.errors import LoginRefused, MachineUnfit, MachineUnreachable
from spokes.agent.kind import Deeds
from spokes.agent.results import plain_result
from spokes.agent.sites import Sites
from spokes.remote.endpoint import ENDPOINT, Address
from spokes.remote.machine import RemoteMachine
from spokes.ssh import scan_host_key
from wire.errors import Code, Refused
from wire.messages import Command, EndState, Op, Output, Result

_MIB = 1024 * 1024
_SHOWN_MAX = 500
_LOW_BYTES = 500 * _MIB


def deeds(sites: Sites) -> Deeds:
    return {Op.CHECK: lambda command: check(sites, command), Op.SCAN_HOST_KEY: scan}


def check(sites: Sites, command: Command) -> Result:
    """Connect, and see that jobs can run there; the output `health` says what that means for the target.

    Whoever does not answer is unavailable; whoever answers and cannot be worked with is unhealthy.
    """
    try:
        return _looked_at(sites, command)
    except (LoginRefused, MachineUnfit, Refused) as error:
        return _lacking("unhealthy", str(error))
    except MachineUnreachable as error:
        return _lacking("unavailable", str(error))


def _looked_at(sites: Sites, command: Command) -> Result:
    machine = sites.of(lambda: command).machine
    assert isinstance(machine, RemoteMachine)
    # Once: whoever asks how a target is wants to know it now.
    facts, free = machine.connecting.link().facts, machine.free_bytes()
    message = (
        f"Python {facts['python']} on {facts['system']} {facts['machine']}, {free // _MIB} MiB free in {facts['home']}"
    )
    warnings = []
    if machine.connecting.weak:
        warnings.append(f"{machine.connecting.weak}, which only its setting allow_weak lets pass")
    if free < _LOW_BYTES:
        warnings.append(f"{free // _MIB} MiB of disk are left")
    if warnings:
        message += f"; warning: {'; '.join(warnings)}"
    shown = {
        name: str(facts[name])[:_SHOWN_MAX] for name in ("python", "system", "release", "machine", "hostname", "home")
    }
    return _said(message, shown | {"free_bytes": str(free), "health": "warning" if warnings else "healthy"})


def scan(command: Command) -> Result:
    """The key that the host shows, to be compared by a person; nothing is stored."""
    endpoint = command.job.get(ENDPOINT)
    if not isinstance(endpoint, dict):
        raise Refused(Code.SSH_ARG, "the command does not say which host to ask")
    address = Address.of(endpoint)
    key = scan_host_key(address)
    shown = {"host_key": str(key), "fingerprint": key.fingerprint}
    return _said(f"{address} shows {key.type} {key.fingerprint}", shown)


def _lacking(health: str, message: str) -> Result:
    return _said(message, {"health": health}, EndState.FAILED)


def _said(message: str, outputs: dict[str, str], state: EndState = EndState.SUCCEEDED) -> Result:
    listed = tuple(Output(name, value, secret=False) for name, value in outputs.items())
    return replace(plain_result(state, message), outputs=listed)
