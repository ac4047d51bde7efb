"""Who hears events and sends commands over AMQP, as operations: `hub/integration` does the work."""

from hub.integration import consumers
from hub.operations.body import Body, Name, Nothing, Ref, RefList, Reply
from hub.operations.context import Context
from hub.operations.operation import Done, Operation
from hub.permissions import Permission
from hub.projects import finding
from hub.queries.integration import ConsumerView, consumer_view


class CreateConsumer(Body):
    """`projects`: those it hears of; left out: all, and the hub itself. `commands`: it may ask for deployments."""

    name: Name
    projects: RefList | None = None
    commands: bool = False


class OfConsumer(Body):
    consumer: Ref


class ConsumerCreated(Reply):
    """`password` is shown here and never again. The account is there once the consumer is `ready`."""

    id: str
    password: str
    consumer: ConsumerView


def _create(context: Context, body: CreateConsumer) -> Done:
    projects = None
    if body.projects is not None:
        projects = [finding.project(ref, f"projects.{index}").id for index, ref in enumerate(body.projects)]
    row, password = consumers.create_consumer(context, body.name, projects, commands=body.commands)
    detail = {"name": row.name, "projects": row.projects, "commands": row.commands}
    reply = ConsumerCreated(id=row.id, password=password.reveal(), consumer=consumer_view(row))
    return Done(reply, f"consumer:{row.id}", detail=detail)


def _delete(context: Context, body: OfConsumer) -> Done:
    row = consumers.find_consumer(body.consumer)
    consumers.remove_consumer(context, row)
    return Done(Nothing(), f"consumer:{row.id}", detail={"name": row.name})


OPERATIONS = (
    Operation(
        "consumer.create",
        "Let a program hear events over AMQP; its password is shown once",
        CreateConsumer,
        ConsumerCreated,
        Permission.CONSUMER_EDIT,
        _create,
        status=201,
        step_up=True,
    ),
    Operation(
        "consumer.delete",
        "Take a program's account at the broker away, with its queues",
        OfConsumer,
        Nothing,
        Permission.CONSUMER_EDIT,
        _delete,
        status=204,
    ),
)
