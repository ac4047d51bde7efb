"""How machines are cared for: policies, when each target is looked at next, and what a target missed while away."""

from peewee import BooleanField, CharField, IntegerField, TextField

from hub.states import Health, Unavailable
from hub.storage.models.infrastructure import Target
from hub.storage.models.table import AtField, IdField, RefField, RowId, SealedTable, StateField, Table, now_ms
from hub.storage.models.work import Task


class MachinePolicy(SealedTable):
    """Sealed, for its script runs on machines."""

    SEALED = ("name", "interval_s", "script", "shell", "unavailable", "wait_s", "catch_up")

    id = RowId()
    name = CharField(max_length=100, unique=True)
    interval_s = IntegerField()
    script = TextField(default="")  # "": connecting, or a heartbeat, says enough.
    shell = CharField(max_length=24, default="bash")
    unavailable = StateField(Unavailable, default=Unavailable.WAIT)
    wait_s = IntegerField(default=0)  # 0: as long as any job waits for its spoke.
    catch_up = BooleanField(default=False)
    description = TextField(default="")
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)


class TargetCare(Table):
    """Beside the target's own row, which is sealed and grants something; this one grants nothing.

    `said`: the last word of a spoke that stands on it. `verdict`: what the last check by the policy's script found,
    where that was not good.
    """

    target = RefField(Target, primary_key=True, on_delete="CASCADE")
    policy = RefField(MachinePolicy, null=True, on_delete="SET NULL")  # None: the default one.
    due_at = AtField(default=0, index=True)
    checked_at = AtField(null=True)
    task = IdField(null=True)  # The last check that the hub began by itself.
    said = StateField(Health, null=True)
    said_reason = TextField(default="")
    verdict = StateField(Health, null=True)
    verdict_reason = TextField(default="")


class MissedDeployment(Table):
    """A target was left out of a deployment, and its policy says that it catches up."""

    id = RowId()
    target = RefField(Target, on_delete="CASCADE")
    task = RefField(Task, on_delete="CASCADE")

    class Meta:
        indexes = ((("target", "task"), True),)
