"""Lifecycles, with the names of their environments."""

from typing import Literal

from hub.operations.body import Reply
from hub.projects import finding, lifecycles
from hub.queries.listing import Order, Page, Slice, page
from hub.storage.models import Lifecycle


class PhaseView(Reply):
    name: str
    environments: list[str]
    require: Literal["all", "any", "none"] | int


class LifecycleView(Reply):
    id: str
    name: str
    description: str
    phases: list[PhaseView]
    version: int


def view(row: Lifecycle) -> LifecycleView:
    return LifecycleView(
        id=row.id,
        name=row.name,
        description=row.description,
        phases=[PhaseView(**phase) for phase in lifecycles.as_written(row)],
        version=row.version,
    )


def all_lifecycles(part: Slice) -> Page[LifecycleView]:
    return page(Lifecycle.select(), Order(Lifecycle.name, Lifecycle.id), part, view)


def lifecycle(ref: str) -> LifecycleView:
    return view(finding.lifecycle(ref))
