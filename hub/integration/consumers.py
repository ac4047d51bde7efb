"""Consumers: who may hear events and send commands over AMQP; hub/integration/broker_side.py carries it out."""

import secrets
from collections.abc import Sequence

from hub.acting import Acting
from hub.errors import Conflict, NotFound
from hub.states import ConsumerState
from hub.storage.database import write_tx
from hub.storage.models import Consumer, new_row_id
from hub.storage.vault import Vault
from wire.secret import Secret

_PASSWORD_VERSION = 1  # It is made once; whoever lost it is added anew.


def create_consumer(
    context: Acting, name: str, projects: Sequence[str] | None, *, commands: bool
) -> tuple[Consumer, Secret]:
    """A consumer, whose account follows by itself; inside `write_tx`.

    Args:
        context: Who makes it.
        name: What people call it.
        projects: Ids of those it hears of; None: of all, and of the hub itself.
        commands: Whether it may ask for something.

    Returns:
        The row, and its password, to be shown once.
    """
    if Consumer.select().where(Consumer.name == name).exists():
        raise Conflict(f"there is a consumer {name!r} already", field="name")
    password = secrets.token_urlsafe(32)
    row = Consumer(
        id=new_row_id(),
        name=name,
        projects=None if projects is None else list(dict.fromkeys(projects)),
        commands=commands,
        created_by=context.caller.user_id,
        created_at=context.now_ms,
    )
    row.password_sealed = context.vault.seal_field("consumer", "password_sealed", row.id, _PASSWORD_VERSION, password)
    context.seals.seal(row)
    row.save(force_insert=True)
    return row, Secret(password)


def remove_consumer(context: Acting, row: Consumer) -> None:
    """It may do nothing any more: its commands are refused at once, its account ends within a moment."""
    row.state = ConsumerState.REMOVED
    row.version += 1
    context.seals.seal_end(row)
    row.save()


def find_consumer(ref: str) -> Consumer:
    """By name or id, one that was not removed."""
    row: Consumer | None = Consumer.get_or_none(
        ((Consumer.id == ref) | (Consumer.name == ref)) & (Consumer.state != ConsumerState.REMOVED)
    )
    if row is None:
        raise NotFound(f"no consumer {ref!r}")
    return row


def password_of(vault: Vault, row: Consumer) -> str:
    return vault.open_field("consumer", "password_sealed", row.id, _PASSWORD_VERSION, row.password_sealed).decode()


def forget(row: Consumer) -> None:
    """The broker has nothing of it any more."""
    with write_tx():
        Consumer.delete().where(Consumer.id == row.id, Consumer.state == ConsumerState.REMOVED).execute()
