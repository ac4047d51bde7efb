"""Environments, as everybody with a role sees them."""

from hub.operations.body import Reply
from hub.projects import finding
from hub.queries.listing import Order, Page, Slice, page
from hub.storage.models import Environment


class EnvironmentView(Reply):
    id: str
    name: str
    description: str
    position: int
    version: int


def view(row: Environment) -> EnvironmentView:
    return EnvironmentView(
        id=row.id, name=row.name, description=row.description, position=row.position, version=row.version
    )


def environments(part: Slice) -> Page[EnvironmentView]:
    """In the order of their positions."""
    return page(Environment.select(), Order(Environment.position, Environment.id), part, view)


def environment(ref: str) -> EnvironmentView:
    return view(finding.environment(ref))


def names() -> dict[str, str]:
    """Names by id."""
    return {row.id: row.name for row in Environment.select(Environment.id, Environment.name)}
