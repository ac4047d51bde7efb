"""Machine policies as people see them, with the targets that have each."""

from hub.infrastructure import machine_policies
from hub.operations.body import Reply
from hub.projects import finding, targeting
from hub.queries.listing import Order, Page, Slice, page, time_text
from hub.storage.models import MachinePolicy


class MachinePolicyView(Reply):
    """`wait_s` 0: as long as any job waits for its spoke."""

    id: str
    name: str
    interval_s: int
    script: str
    shell: str
    unavailable: str
    wait_s: int
    catch_up: bool
    description: str
    targets: list[str]
    created_at: str
    version: int


def view(row: MachinePolicy) -> MachinePolicyView:
    return MachinePolicyView(
        id=row.id,
        name=row.name,
        interval_s=row.interval_s,
        script=row.script,
        shell=row.shell,
        unavailable=str(row.unavailable),
        wait_s=row.wait_s,
        catch_up=row.catch_up,
        description=row.description,
        targets=[target.name for target in machine_policies.targets_of(row)],
        created_at=time_text(row.created_at),
        version=row.version,
    )


def policies(part: Slice) -> Page[MachinePolicyView]:
    return page(MachinePolicy.select(), Order(MachinePolicy.name, MachinePolicy.id), part, view)


def policy_row(ref: str, field: str | None = None) -> MachinePolicy:
    row: MachinePolicy = finding.find(MachinePolicy, ref, "machine policy", names=(MachinePolicy.name,), field=field)
    return row


def of_target(ref: str) -> MachinePolicyView:
    """The policy that holds for a target."""
    return view(machine_policies.policy_of(targeting.target(ref)))


def policy(ref: str) -> MachinePolicyView:
    return view(policy_row(ref))
