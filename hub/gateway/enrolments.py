"""The enrolment endpoint: checks a frame's size and signature, keeps it unopened, and answers neutrally."""

import math
import re
import time

from flask import Blueprint, Response, jsonify, request

from hub.gateway.parts import GatewayParts
from hub.gateway.rates import Rates
from hub.infrastructure import unopened
from hub.states import EnrolmentState, InboxKind
from hub.storage.database import write_tx
from hub.storage.models import Enrolment, GatewayInbox
from wire.crash import crash_point
from wire.envelope import ENROL_MAX, verify_enrol
from wire.errors import Code, Refused

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
# One sentence for every reason: who guesses learns nothing from it.
_NEUTRAL = "The enrolment was refused. Ask for a new join code, and see the hub's audit log for the reason."

Answer = tuple[Response, int] | Response


def routes(parts: GatewayParts) -> Blueprint:
    """Public by design: who comes here has no account yet."""
    here = Blueprint("enrolments", __name__)
    knocks = Rates(parts.limits.enrolments, time.monotonic)
    questions = Rates(parts.limits.questions, time.monotonic)

    def enrol() -> Answer:
        wait_s = knocks.wait_s(request.remote_addr or "")
        if wait_s:
            return _too_many(wait_s)
        frame = request.stream.read(ENROL_MAX + 1)
        try:
            sha256 = verify_enrol(frame).frame_sha256
        except Refused:
            return _neutral()
        if not _keep(frame, sha256, parts):
            return _too_many(5)
        crash_point("gateway.enrolment-kept")
        parts.wake_engine()
        return jsonify({"id": sha256}), 202

    def outcome(sha256: str) -> Answer:
        wait_s = questions.wait_s(request.remote_addr or "")
        if wait_s:
            return _too_many(wait_s)
        return _outcome(sha256) if _SHA256.fullmatch(sha256) else _neutral()

    here.post("/gateway/v1/enrol")(enrol)
    here.get("/gateway/v1/enrol/<sha256>")(outcome)
    return here


def _keep(frame: bytes, sha256: str, parts: GatewayParts) -> bool:
    """Whether there was room; the same frame twice is one."""
    source = request.remote_addr or ""
    with write_tx():
        return unopened.keep(frame, sha256, source=source, now_ms=parts.clock_ms(), most=parts.limits.unopened)


def _outcome(sha256: str) -> Answer:
    # In this order: the engine takes a frame out of the inbox in the transaction that makes its enrolment.
    waits = GatewayInbox.select().where(GatewayInbox.kind == InboxKind.ENROL, GatewayInbox.sha256 == sha256).exists()
    row = Enrolment.get_or_none(Enrolment.id == sha256)
    if row is None:
        return _waiting() if waits else _neutral()
    if row.state == EnrolmentState.ANSWERED and row.answer is not None:
        return Response(row.answer, mimetype="application/octet-stream")
    return _waiting() if row.state == EnrolmentState.WAITING else _neutral()


def _waiting() -> Answer:
    return jsonify({"code": str(Code.JOIN_PENDING)}), 202


def _neutral() -> Answer:
    return jsonify({"code": str(Code.JOIN_BAD), "message": _NEUTRAL}), 400


def _too_many(wait_s: float) -> Answer:
    answer = jsonify({"code": "TOO_MANY", "message": "Too many requests from this address; try again later."})
    answer.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    return answer, 429
