"""Secrets of a task: opened for the moment a command is made, and as patterns to mask what comes back.

Only the engine can open them. What does not open makes the job unsendable, in words, never a guess.
"""

from collections.abc import Iterable, Mapping

from hub.errors import FieldDamaged, SealBroken
from hub.infrastructure.accounts import open_secret
from hub.orchestrator.endpoints import ACCOUNT_REF
from hub.orchestrator.task_store import Kept, TaskStore
from hub.storage.models import Account, OutputVariable, Variable, new_row_id
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from runner.contract.masking import Patterns
from wire.messages import Output

_MASKS_KEPT = 256
_OUTPUT_VERSION = 1


class Unsendable(Exception):
    """A command cannot be made as the plan has it; the sentence is for the task."""


class Secrets:
    """Opens what the rows hold."""

    def __init__(self, vault: Vault, seals: RowSeals) -> None:
        self._vault = vault
        self._seals = seals

    def values(self, rows_by_name: Mapping[str, str]) -> dict[str, str]:
        """Present values of secret variables and of accounts' fields, by name.

        Raises:
            Unsendable: one was deleted, or changed outside the hub.
        """
        if not rows_by_name:
            return {}
        fields = {name: ref.split(":") for name, ref in rows_by_name.items() if ref.startswith(ACCOUNT_REF)}
        row_ids = [row_id for name, row_id in rows_by_name.items() if name not in fields]
        rows = {row.id: row for row in Variable.select().where(Variable.id.in_(row_ids))} if row_ids else {}
        values = {name: self._value(name, rows.get(rows_by_name[name])) for name in rows_by_name if name not in fields}
        return values | (self._account_values(fields) if fields else {})

    def output(self, row: OutputVariable) -> str:
        """The value of an output, as it came."""
        if row.value_sealed is None:
            return str(row.value)
        place = (OutputVariable.table_name(), "value_sealed", row.id, _OUTPUT_VERSION)
        return self._vault.open_field(*place, row.value_sealed).decode("utf-8", "surrogatepass")

    def output_columns(self, output: Output, masks: Patterns | None) -> dict[str, object]:
        """The columns that hold an output's value: in clear only where no known secret is in it."""
        row_id = new_row_id()
        data = output.value.encode("utf-8", "surrogatepass")
        secret = output.secret or (masks is not None and bool(masks.places(data)))
        if not secret and b"\0" not in data:
            return {"id": row_id, "value": output.value, "value_sealed": None, "secret": False}
        sealed = self._vault.seal_field(OutputVariable.table_name(), "value_sealed", row_id, _OUTPUT_VERSION, data)
        return {"id": row_id, "value": "", "value_sealed": sealed, "secret": secret}

    def _account_values(self, fields: Mapping[str, list[str]]) -> dict[str, str]:
        wanted = {account_id for _, account_id, _ in fields.values()}
        rows = {row.id: row for row in Account.select().where(Account.id.in_(list(wanted)))}
        return {name: self._account_value(rows.get(of), part) for name, (_, of, part) in fields.items()}

    def _account_value(self, row: Account | None, part: str) -> str:
        if row is None:
            raise Unsendable("the account that the target or the step names was deleted")
        if part not in row.secrets_sealed:
            raise Unsendable(f"account {row.name!r} has no {part} any more")
        try:
            self._seals.check(row)
            return open_secret(self._vault, row, part)
        except (SealBroken, FieldDamaged) as error:
            raise Unsendable(f"account {row.name!r} cannot be used: {error.detail}") from error

    def _value(self, name: str, row: Variable | None) -> str:
        if row is None or row.value_sealed is None:
            raise Unsendable(f"the secret variable {name!r} was deleted")
        try:
            self._seals.check(row)
            place = (Variable.table_name(), "value_sealed", row.id, row.value_version)
            return self._vault.open_field(*place, row.value_sealed).decode("utf-8", "surrogatepass")
        except (SealBroken, FieldDamaged) as error:
            raise Unsendable(f"the secret variable {name!r} cannot be used: {error.detail}") from error


class Masks:
    """What must not stand in the log of a job: patterns of its secrets, kept while it is likely to speak."""

    def __init__(self, secrets: Secrets, store: TaskStore) -> None:
        self._secrets = secrets
        self._store = store
        self._kept: Kept[str, tuple[Patterns | None]] = Kept(_MASKS_KEPT)

    def of(self, task: str, cid: str) -> Patterns | None:
        """None where the job has no secrets."""
        plan = self._store.plan(task)
        found = plan.attempts.get(cid) if plan is not None else None
        if plan is None or found is None:
            return None
        rows = plan.secrets_of(found[0])
        if not rows and found[0].step == 0:
            return None
        key = cid if rows else f"{task}/{found[0].step}"
        kept = self._kept.get(key)
        if kept is None:
            kept = (self._made(task, rows),)
            self._kept.put(key, kept)
        return kept[0]

    def forget(self, cids: Iterable[str]) -> None:
        """These jobs have ended."""
        for cid in cids:
            self._kept.drop(cid)

    def _made(self, task: str, rows_by_name: Mapping[str, str]) -> Patterns | None:
        values: list[str] = []
        for name, row_id in rows_by_name.items():
            try:
                values += self._secrets.values({name: row_id}).values()
            except Unsendable:
                continue
        outputs = OutputVariable.select().where(OutputVariable.task == task, OutputVariable.secret)
        values += [self._secrets.output(row) for row in outputs]
        return Patterns(values) if values else None
