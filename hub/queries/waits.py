"""Whose move it is, and until when: for whatever is not finished."""

from collections.abc import Iterable

from hub.operations.body import Reply
from hub.orchestrator.waits import Wait
from hub.queries.listing import at_text, time_text


class WaitView(Reply):
    """Something that is not finished: a task, step, job, message, log or spoke.

    `owner`: whose move it is; `deadline`: when it is over without one, null where it may wait for ever; `sentence`: why
    it does not move.
    """

    what: str
    name: str
    owner: str
    since: str
    deadline: str | None
    sentence: str


def wait_views(found: Iterable[Wait]) -> list[WaitView]:
    return [
        WaitView(
            what=one.what,
            name=one.name,
            owner=one.owner,
            since=time_text(one.since_ms),
            deadline=at_text(one.deadline_ms),
            sentence=one.sentence,
        )
        for one in found
    ]
