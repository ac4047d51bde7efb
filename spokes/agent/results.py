"""How a job ended, as a message: read from the outcome that its supervisor left, or said by the spoke itself."""

import hashlib
import json
from dataclasses import replace
from typing import Any

from spokes.agent.journal import State
from spokes.agent.spool import Position
from wire import canonical, schema
from wire.errors import Refused
from wire.messages import ArtifactRef, EndState, Output, Result

_MESSAGE_MAX = 16_000
_NAME_MAX = 200
_LIST_MAX = 1000
_RUNS_TO = frozenset({EndState.SUCCEEDED, EndState.FAILED, EndState.TIMED_OUT, EndState.CANCELLED})
_ROW_STATES = {
    EndState.CANCELLED: State.CANCELLED,
    EndState.EXPIRED: State.EXPIRED,
    EndState.UNKNOWN: State.UNKNOWN,
}


def plain_result(state: EndState, message: str = "", *, at_ms: int = 0, known: str = "") -> Result:
    """For a job that the spoke itself ends: nothing ran, or nobody knows."""
    return Result(
        state=state,
        exit_code=None,
        message=message[:_MESSAGE_MAX],
        outputs=(),
        artifacts=(),
        survivors=(),
        ended_processes=0,
        cancel_confirmed=True if state is EndState.CANCELLED else None,
        started_at=0,
        ended_at=at_ms,
        records=0,
        chain=Position().chain.hex(),
        known=known[:_MESSAGE_MAX],
    )


def unknown_result(position: Position, known: str, *, at_ms: int) -> Result:
    """Started, and nobody knows how it ended; what is known goes along."""
    result = plain_result(EndState.UNKNOWN, "the end of this run is not known", at_ms=at_ms, known=known)
    return replace(result, records=position.records, chain=position.chain.hex())


def outcome_result(outcome: bytes, artifacts: tuple[ArtifactRef, ...] = ()) -> Result:
    """The result that the supervisor's outcome file states.

    Raises:
        ValueError: It is no such file.
    """
    try:
        found = json.loads(outcome)
        state = EndState(found["state"])
        if state not in _RUNS_TO:
            raise ValueError(f"a run does not end as {state}")
        result = Result(
            state=state,
            exit_code=found["exit_code"],
            message=str(found["message"])[:_MESSAGE_MAX],
            outputs=tuple(
                Output(str(one["name"]), str(one["value"]), bool(one["secret"])) for one in found["outputs"][:_LIST_MAX]
            ),
            artifacts=artifacts,
            survivors=tuple(str(one)[:_NAME_MAX] for one in found["survivors"][:_LIST_MAX]),
            ended_processes=int(found["ended_processes"]),
            cancel_confirmed=found["cancel_confirmed"],
            started_at=int(found["started_at"]),
            ended_at=int(found["ended_at"]),
            records=int(found["spool"]["records"]),
            chain=str(found["spool"]["chain"]),
            known="",
        )
        return schema.read(Result, schema.write(result))
    except (KeyError, TypeError, AttributeError, RecursionError, Refused) as error:
        raise ValueError(f"the outcome cannot be read: {error}") from error


def was_stopped(outcome: bytes) -> bool:
    """Whether somebody, or its time limit, ended the run."""
    try:
        return json.loads(outcome)["state"] in {EndState.CANCELLED, EndState.TIMED_OUT}
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def spool_bytes(outcome: bytes) -> int:
    """How long the spool is when the run is over; 0 where the outcome does not say."""
    try:
        return int(json.loads(outcome)["spool"]["bytes"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0


def artifacts_in(outcome: bytes) -> list[dict[str, Any]]:
    """The artifacts that the run left: name, path in the job folder, size, sha256."""
    try:
        found = json.loads(outcome)["artifacts"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [one for one in found if isinstance(one, dict)][:_LIST_MAX] if isinstance(found, list) else []


def for_journal(result: Result) -> tuple[State, str, str]:
    """The row's state, the text to keep and its digest; values that are secret are not kept."""
    kept = replace(result, outputs=tuple(replace(one, value="") if one.secret else one for one in result.outputs))
    text = canonical.encode(schema.write(kept))
    return _ROW_STATES.get(result.state, State.FINISHED), text.decode(), hashlib.sha256(text).hexdigest()


def from_journal(text: str) -> Result:
    return schema.read(Result, json.loads(text))


def without_outputs(result: Result) -> Result:
    """For outputs that together are more than a message may carry: said, not cut in silence."""
    message = "The outputs of this step are more than one message carries and were left out. " + result.message
    state = EndState.FAILED if result.state is EndState.SUCCEEDED else result.state
    return replace(result, outputs=(), state=state, message=message[:_MESSAGE_MAX])


def blanked(outcome: bytes) -> bytes:
    """The outcome without its secret values, for the days that the folder is kept after its report."""
    found = json.loads(outcome)
    for one in found.get("outputs", []):
        if one.get("secret"):
            one["value"] = ""
    return json.dumps(found).encode()
