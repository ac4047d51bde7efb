"""The nodes of this hub, as people see them: which engines work, and what one of them does alone."""

from hub.operations.body import Reply
from hub.orchestrator.leases import holders
from hub.orchestrator.nodes import nodes
from hub.queries.listing import Page, time_text


class NodeView(Reply):
    """`is_there`: it has said so lately; one that has not is taken over within seconds. `alone`: what it does alone."""

    name: str
    software: str
    since: str
    is_there: bool
    alone: list[str]


def all_nodes() -> Page[NodeView]:
    held = holders()
    return Page(
        items=[
            NodeView(
                name=row.name,
                software=row.software,
                since=time_text(row.started_at),
                is_there=is_there,
                alone=sorted(lease for lease, holder in held.items() if holder == row.id),
            )
            for row, is_there in nodes()
        ],
        next=None,
    )
