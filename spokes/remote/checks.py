"""What an ssh spoke answers without a run: is the target fit, and which key does a host show."""

from dataclasses import replace

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


def deeds(sites: Sites) -> Deeds:
    return {Op.CHECK: lambda command: check(sites, command), Op.SCAN_HOST_KEY: scan}


def check(sites: Sites, command: Command) -> Result:
    """Connect, and see that jobs can run there; what is missing is raised."""
    machine = sites.of(lambda: command).machine
    assert isinstance(machine, RemoteMachine)
    # Once: whoever asks how a target is wants to know it now.
    facts, free = machine.connecting.link().facts, machine.free_bytes()
    message = (
        f"Python {facts['python']} on {facts['system']} {facts['machine']}, {free // _MIB} MiB free in {facts['home']}"
    )
    if machine.connecting.weak:
        message += f"; warning: {machine.connecting.weak}, which only its setting allow_weak lets pass"
    shown = {
        name: str(facts[name])[:_SHOWN_MAX] for name in ("python", "system", "release", "machine", "hostname", "home")
    }
    return _said(message, shown | {"free_bytes": str(free)})


def scan(command: Command) -> Result:
    """The key that the host shows, to be compared by a person; nothing is stored."""
    endpoint = command.job.get(ENDPOINT)
    if not isinstance(endpoint, dict):
        raise Refused(Code.SSH_ARG, "the command does not say which host to ask")
    address = Address.of(endpoint)
    key = scan_host_key(address)
    shown = {"host_key": str(key), "fingerprint": key.fingerprint}
    return _said(f"{address} shows {key.type} {key.fingerprint}", shown)


def _said(message: str, outputs: dict[str, str]) -> Result:
    listed = tuple(Output(name, value, secret=False) for name, value in outputs.items())
    return replace(plain_result(EndState.SUCCEEDED, message), outputs=listed)
