"""Which targets were left out of which deployment, to get it when they are back; rows only, inside `write_tx`."""

from collections.abc import Iterable

from hub.storage.models import MissedDeployment, new_row_id


def note(task: str, targets: Iterable[str]) -> None:
    """These are left out of the task's deployment, and catch up with it."""
    for target in targets:
        MissedDeployment.insert(id=new_row_id(), target=target, task=task).on_conflict_ignore().execute()


def go_over(former: str, task: str) -> None:
    """A deployment is tried again, by the same plan: who was left out of it is left out once more."""
    note(task, [row.target for row in MissedDeployment.select().where(MissedDeployment.task == former)])
