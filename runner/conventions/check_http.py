"""Ask over HTTP until the answer is as expected; each answer that is not is told, and why."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import dataclass
from typing import List, Sequence

from runner.contract.masking import Masker
from runner.deployment import RunningDeployment
from runner.errors import NoGoodAnswer, StepFailed
from runner.http_connection import Way
from runner.http_exchange import Header, Request, ask, request_of
from runner.http_expectation import Expectation, expectation_of
from runner.outputs_to_come import waits_for_outputs

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z", re.ASCII)
_NOT_SHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_OURS = frozenset({"content-length", "transfer-encoding", "connection"})
_SENTENCE_CHARS = 400
_BODY_CHARS = 1000


@dataclass(frozen=True)
class _Check:
    """A check with every property expanded."""

    request: Request
    way: Way
    expectation: Expectation
    attempts: int
    within_s: int
    timeout_s: int
    pause_s: int


class CheckHttp:
    name = "check over HTTP"

    def install(self, deployment: RunningDeployment) -> None:
        check = _check_of(deployment)
        if check.way.is_insecure:
            deployment.warn("the certificate is not looked at (insecure): whoever answers is believed")
        began = time.monotonic()
        ends_at = began + check.within_s
        attempt = 0
        while True:
            attempt += 1
            fault = _fault(check, min(ends_at, time.monotonic() + check.timeout_s))
            if fault is None:
                deployment.say(f"{check.request.method} {check.request.url} answers as expected (attempt {attempt})")
                return
            is_last = time.monotonic() + check.pause_s >= ends_at or attempt == check.attempts
            again = "" if is_last else f"; asking again in {check.pause_s} s"
            deployment.say(_shown(deployment, f"attempt {attempt}: {fault}", _SENTENCE_CHARS) + again)
            if is_last:
                break
            time.sleep(check.pause_s)
        _tell_body(deployment, fault)
        raise StepFailed(
            f"{check.request.method} {check.request.url} did not answer as expected in {attempt} "
            f"{'attempt' if attempt == 1 else 'attempts'} within {time.monotonic() - began:.0f} s: "
            + _shown(deployment, str(fault), _SENTENCE_CHARS)
        )

    def rollback(self, deployment: RunningDeployment) -> None:
        """Asking changes nothing here."""


class TellHttpCheck:
    """What a preview says: every property can be expanded and read, and nobody is asked."""

    name = "tell of the check over HTTP"

    def install(self, deployment: RunningDeployment) -> None:
        if waits_for_outputs(deployment):
            return
        check = _check_of(deployment)
        deployment.say(f"would ask {check.request.method} {check.request.url} for up to {check.within_s} s")

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was done."""


def _fault(check: _Check, ends_at: float) -> NoGoodAnswer | None:
    """Why one attempt failed; None where it did not."""
    try:
        answer = ask(check.request, check.way, ends_at)
        try:
            check.expectation.judge(answer, ends_at)
        finally:
            answer.close()
    except NoGoodAnswer as error:
        return error
    return None


def _check_of(deployment: RunningDeployment) -> _Check:
    properties = deployment.properties
    socket, ca_file = deployment.text("socket"), deployment.text("ca_file")
    for name, path in (("socket", socket), ("ca_file", ca_file)):
        if path and (not path.startswith("/") or "\0" in path):
            raise StepFailed(f"{name} must be an absolute path, not {path!r}")
    return _Check(
        request=request_of(
            properties["method"],
            deployment.text("url").strip(),
            _headers(deployment),
            deployment.text("body").encode("utf-8", "surrogateescape"),
        ),
        way=Way(socket, ca_file, properties["insecure"], properties["follow_redirects"]),
        expectation=expectation_of(
            _expanded(deployment, "expect_status") or ["200-299"],
            deployment.text("expect_text"),
            deployment.text("expect_pattern"),
            _expanded(deployment, "expect_json"),
        ),
        attempts=properties["attempts"],
        within_s=properties["within_s"],
        timeout_s=properties["timeout_s"],
        pause_s=properties["pause_s"],
    )


def _expanded(deployment: RunningDeployment, name: str) -> List[str]:
    return [deployment.variables.expand(item, f"property {name}") for item in deployment.properties[name]]


def _headers(deployment: RunningDeployment) -> Sequence[Header]:
    """The headers that were given, and who asks; a fault never shows a value, which may be secret."""
    found: List[Header] = []
    for line in _expanded(deployment, "headers"):
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.match(name.strip()):
            raise StepFailed("headers takes items like `Name: value`, and one of them has no such name")
        if name.strip().lower() in _OURS:
            raise StepFailed(f"the header {name.strip()} is ours to set")
        found.append((name.strip(), value.strip()))
    user, password, token = (deployment.text(name) for name in ("user", "password", "token"))
    if token and (user or password):
        raise StepFailed("expected user and password, or a token, not both")
    if user or password:
        pair = f"{user}:{password}".encode("utf-8", "surrogateescape")
        found.append(("Authorization", f"Basic {base64.b64encode(pair).decode('ascii')}"))
    if token:
        found.append(("Authorization", f"Bearer {token}"))
    for name, value in found:
        if any(ord(letter) < 32 and letter != "\t" for letter in value):
            raise StepFailed(f"the header {name} would hold a control character")
    return found


def _tell_body(deployment: RunningDeployment, fault: NoGoodAnswer) -> None:
    if fault.read:
        text = fault.read[: 4 * _BODY_CHARS].decode("utf-8", "replace")
        deployment.say("the answer's body begins so:\n" + _shown(deployment, text, _BODY_CHARS, is_whole=False))


def _shown(deployment: RunningDeployment, text: str, most: int, *, is_whole: bool = True) -> str:
    """A text from elsewhere, masked before it is cut: half a secret would not be known for one."""
    masker = Masker(deployment.variables.value(name) or "" for name in deployment.job.secret_names)
    masked = masker.feed(text.encode("utf-8", "surrogateescape"))
    if is_whole:
        # Else what is held back could be the beginning of a secret whose rest was cut off before.
        masked += masker.flush()
    readable = _NOT_SHOWN.sub("\ufffd", masked.decode("utf-8", "replace"))
    return readable if len(readable) <= most else f"{readable[:most]}…"
