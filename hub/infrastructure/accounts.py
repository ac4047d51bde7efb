"""Accounts: how to get into machines and clouds. What is secret in them is sealed, each value for itself.

ssh-key   user                                    | private_key, passphrase?
password  user                                    | password
aws       access_key_id                           | secret_access_key, session_token?
azure     tenant_id, client_id, subscription_id   | client_secret
google    project?                                | json_key
generic   NAME: value                             | NAME: value         (environment variables)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peewee import fn

from hub.acting import Acting
from hub.errors import Conflict, Invalid, NotFound
from hub.infrastructure.display_names import fault_of
from hub.infrastructure.ssh_input import checked_user
from hub.states import AccountKind, TargetKind
from hub.storage.models import Account, Environment, Target
from hub.storage.vault import Vault
from runner.contract.masking import weakness

MAX_FIELDS = 100
_VALUE_MAX = 64 * 1024
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN ([A-Z0-9]+ )?PRIVATE KEY-----\n.+\n-----END ([A-Z0-9]+ )?PRIVATE KEY-----\n", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What an account of a kind holds; names that end in ? may be absent."""

    fields: tuple[str, ...]
    secrets: tuple[str, ...]


SHAPES: Mapping[AccountKind, Shape] = {
    AccountKind.SSH_KEY: Shape(("user",), ("private_key", "passphrase?")),
    AccountKind.PASSWORD: Shape(("user",), ("password",)),
    AccountKind.AWS: Shape(("access_key_id",), ("secret_access_key", "session_token?")),
    AccountKind.AZURE: Shape(("tenant_id", "client_id", "subscription_id"), ("client_secret",)),
    AccountKind.GOOGLE: Shape(("project?",), ("json_key",)),
}
"""Of every kind but `generic`, which holds what one likes."""


@dataclass(frozen=True, slots=True)
class AccountRequest:
    """What an account is to be. Of a secret, None keeps the value that is there; `environments` are ids."""

    name: str
    kind: AccountKind
    fields: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    environments: Sequence[str] = ()
    description: str = ""


def create_account(context: Acting, wanted: AccountRequest) -> Account:
    _check_name(wanted.name)
    row = Account(name=wanted.name, kind=wanted.kind)
    _write(context, row, wanted)
    context.seals.seal(row)
    row.save(force_insert=True)
    return row


def update_account(context: Acting, account_id: str, wanted: AccountRequest) -> Account:
    """Make it what is wanted; secrets that are not named any more are forgotten.

    Raises:
        Conflict: its kind would change.
    """
    row = find_account(account_id)
    context.seals.check(row)
    if wanted.kind != row.kind:
        raise Conflict(
            f"account {row.name!r} is of the kind {row.kind}; make another one for {wanted.kind}", field="kind"
        )
    _check_name(wanted.name, but=row.id)
    before = _content(row)
    row.name = wanted.name
    _write(context, row, wanted)
    if _content(row) == before:
        return row
    row.version += 1
    context.seals.seal(row)
    row.save()
    return row


def delete_account(_context: Acting, account_id: str) -> Account:
    """Forget it.

    Raises:
        Conflict: a target gets in with it.
    """
    row = find_account(account_id)
    users = users_of(row)
    if users:
        raise Conflict(f"account {row.name!r} is used by {', '.join(target.name for target in users[:5])}")
    row.delete_instance()
    return row


def users_of(row: Account) -> list[Target]:
    """The targets whose endpoint names it."""
    reached = Target.select().where(Target.kind.in_([TargetKind.SSH, TargetKind.CLOUD])).order_by(Target.name)
    return [target for target in reached if target.endpoint.get("account") == row.id]


def find_account(ref: str) -> Account:
    """By id or by name."""
    row: Account | None = Account.get_or_none((Account.id == ref) | (fn.LOWER(Account.name) == ref.lower()))
    if row is None:
        raise NotFound("no such account")
    return row


def open_secret(vault: Vault, row: Account, name: str) -> str:
    """One secret's value; only the engine's vault can.

    Raises:
        FieldDamaged: it was altered, is an older one, or belongs elsewhere.
    """
    kept = row.secrets_sealed[name]
    plain = vault.open_field(Account.table_name(), _column(name), row.id, kept["version"], kept["sealed"])
    return plain.decode("utf-8", "surrogatepass")


def _write(context: Acting, row: Account, wanted: AccountRequest) -> None:
    row.fields = _checked_fields(wanted)
    row.environments = _checked_environments(wanted.environments)
    row.description = wanted.description
    row.secrets_sealed = _written_secrets(context.vault, row, _checked_secrets(wanted))


def _written_secrets(vault: Vault, row: Account, wanted: Mapping[str, str | None]) -> dict[str, Any]:
    former = row.secrets_sealed or {}
    written = {}
    for name, value in wanted.items():
        kept = former.get(name)
        if value is None or (kept is not None and open_secret(vault, row, name) == value):
            if kept is None:
                raise Invalid("it has no value yet; expected one", field=f"secrets.{name}")
            written[name] = kept
        else:
            written[name] = _sealed(vault, row.id, name, kept["version"] + 1 if kept else 1, value)
    return written


def _sealed(vault: Vault, row_id: str, name: str, version: int, value: str) -> dict[str, Any]:
    sealed = vault.seal_field(Account.table_name(), _column(name), row_id, version, value)
    return {"version": version, "sealed": sealed}


def _column(name: str) -> str:
    """What a value is bound to: one secret of an account never opens as another one."""
    return f"secrets_sealed.{name}"


def _checked_fields(wanted: AccountRequest) -> dict[str, str]:
    shape = SHAPES.get(wanted.kind)
    _check_names("fields", wanted.kind, wanted.fields, shape.fields if shape else None)
    for name, value in wanted.fields.items():
        if len(value) > _VALUE_MAX or "\0" in value:
            raise Invalid(f"expected a text of at most {_VALUE_MAX} characters without NUL", field=f"fields.{name}")
        if shape is not None and (not value.isprintable() or value != value.strip()):
            raise Invalid("expected one line without a space at either end", field=f"fields.{name}")
    if "user" in wanted.fields and shape is not None:
        checked_user(wanted.fields["user"], field="fields.user")
    return dict(wanted.fields)


def _checked_secrets(wanted: AccountRequest) -> dict[str, str | None]:
    shape = SHAPES.get(wanted.kind)
    _check_names("secrets", wanted.kind, wanted.secrets, shape.secrets if shape else None)
    both = set(wanted.fields) & set(wanted.secrets)
    if both:
        raise Invalid(f"{min(both)} is a field already", field=f"secrets.{min(both)}")
    found = dict(wanted.secrets)
    for name, value in found.items():
        if value is None:
            continue
        if len(value) > _VALUE_MAX or "\0" in value:
            raise Invalid(f"expected a text of at most {_VALUE_MAX} characters without NUL", field=f"secrets.{name}")
        fault = weakness(value)
        if fault:
            raise Invalid(f"it {fault}: it could not be masked in a log", field=f"secrets.{name}")
    if found.get("private_key") is not None and wanted.kind is AccountKind.SSH_KEY:
        found["private_key"] = _checked_private_key(str(found["private_key"]))
    return found


def _checked_private_key(value: str) -> str:
    text = value.replace("\r\n", "\n").strip() + "\n"
    if not _PRIVATE_KEY.fullmatch(text):
        raise Invalid("expected a private key as `ssh-keygen -t ed25519` writes it", field="secrets.private_key")
    return text


def _check_names(part: str, kind: AccountKind, given: Mapping[str, Any], shape: tuple[str, ...] | None) -> None:
    if shape is None:
        if len(given) > MAX_FIELDS:
            raise Invalid(f"expected at most {MAX_FIELDS}", field=part)
        for name in given:
            if not _ENVIRONMENT_NAME.fullmatch(name):
                raise Invalid("expected the name of an environment variable: A to Z, 0 to 9 and _", field=part)
        return
    known = [name.removesuffix("?") for name in shape]
    for name in given:
        if name not in known:
            raise Invalid(f"{kind} accounts have no {part} but {', '.join(known) or 'none'}", field=part)
    for name in shape:
        if not name.endswith("?") and (name not in given or given[name] == ""):
            raise Invalid(f"a {kind} account needs it", field=f"{part}.{name}")


def _checked_environments(environments: Sequence[str]) -> list[str]:
    wanted = sorted(set(environments))
    if Environment.select().where(Environment.id.in_(wanted)).count() != len(wanted):
        raise Invalid("no such environment", field="environments")
    return wanted


def _content(row: Account) -> tuple[Any, ...]:
    return (row.name, row.fields, row.environments, row.description, row.secrets_sealed)


def _check_name(name: str, but: str = "") -> None:
    fault = fault_of(name)
    if fault is not None:
        raise Invalid(fault, field="name")
    taken = Account.get_or_none((fn.LOWER(Account.name) == name.lower()) & (Account.id != but))
    if taken is not None:
        raise Conflict(f"there is an account {taken.name!r} already", field="name")
