"""Answers what scripts say over MANYARM_FD (or by service lines): variables, outputs, artifacts, progress, warnings."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

from runner.contract.errors import ContractError, MessageRefused, shown
from runner.contract.masking import Patterns, mask_text, weakness
from runner.contract.service_messages import (
    MESSAGES_MAX,
    OUTPUTS_MAX_CHARS,
    ServiceMessage,
    frame,
    parse_message,
    take_frame,
)
from runner.contract.spool import Stream
from runner.errors import StepFailed
from runner.job_variables import JobVariables
from runner.memory import within_memory
from runner.spool_writer import SpoolWriter

_READ_BYTES = 64 * 1024
# A message over the limit is read to its end, so that the next one begins where it should; one beyond this is none.
_SKIP_MAX_BYTES = 64 * 1024 * 1024
_WANTS_TEXT = b'"reply":"text"'


class ServiceDesk:
    """What a job's scripts asked for and left; one for a job, whatever number of scripts it has."""

    def __init__(self, variables: JobVariables, known: Patterns, spool: SpoolWriter) -> None:
        self._variables = variables
        self._known = known
        self._spool = spool
        self._messages = 0
        self._verbs: Dict[str, Callable[[Dict[str, Any]], str]] = {
            "get_variable": self._get_variable,
            "set_variable": self._set_variable,
            "new_artifact": self._new_artifact,
            "progress": self._progress,
            "warn": self._warn,
            "fail": self._fail,
        }
        self.outputs: Dict[str, Dict[str, Any]] = {}
        self.new_artifacts: List[Tuple[str, str]] = []
        self.failure: str | None = None

    def answer(self, data: bytes) -> bytes:
        """Do what one message asks; the answer in the form that it wants."""
        try:
            message = parse_message(data)
        except MessageRefused as error:
            return _reply(str(error), is_ok=False, as_text=_WANTS_TEXT in data)
        try:
            with within_memory(f"the answer to {message.verb}"):
                text = self._do(message)
                if message.wants_text and "\0" in text:
                    name = shown(message.fields["name"])
                    raise MessageRefused(f"{name!r} holds a NUL character, which a shell cannot")
                return _reply(text, is_ok=True, as_text=message.wants_text)
        except (ContractError, StepFailed) as error:
            return _reply(str(error), is_ok=False, as_text=message.wants_text)

    def service_line(self, data: bytes) -> None:
        """A message that came as a line of output; a refusal becomes a warning in the log."""
        try:
            with within_memory("a service line"):
                self._do(parse_message(data))
        except (ContractError, StepFailed) as error:
            # A script may print such lines for ever, so they count as what it prints.
            self._spool.output(Stream.WARNING, self._masked(str(error)))

    def set_output(self, name: str, value: str, *, is_secret: bool = False) -> None:
        """An output variable; one that holds a known secret is a secret itself."""
        if is_secret:
            weak = weakness(value)
            if weak:
                self._say(Stream.WARNING, f"secret output {name!r} {weak}: it cannot be masked in logs")
            self._known.add(value)
        elif mask_text(value, self._known) != value:
            is_secret = True
            self._say(Stream.WARNING, f"output {name!r} holds a secret and is kept as one")
        self.outputs[name] = {"name": name, "value": value, "secret": is_secret}
        self._variables.set_output(name, value)
        self._spool.event({"event": "output", "name": name, "secret": is_secret})

    def _do(self, message: ServiceMessage) -> str:
        if message.verb != "get_variable":
            self._messages += 1
            if self._messages > MESSAGES_MAX:
                raise MessageRefused(f"a step may send {MESSAGES_MAX} service messages")
        return self._verbs[message.verb](message.fields)

    def _get_variable(self, fields: Dict[str, Any]) -> str:
        value = self._variables.value(fields["name"])
        if value is None:
            raise MessageRefused(f"no variable is named {shown(fields['name'])!r}")
        return value

    def _set_variable(self, fields: Dict[str, Any]) -> str:
        others = sum(len(one["value"]) for name, one in self.outputs.items() if name != fields["name"])
        if others + len(fields["value"]) > OUTPUTS_MAX_CHARS:
            raise MessageRefused(f"the outputs of a step have at most {OUTPUTS_MAX_CHARS} characters together")
        self.set_output(fields["name"], fields["value"], is_secret=fields["secret"])
        return ""

    def _new_artifact(self, fields: Dict[str, Any]) -> str:
        path = Path(fields["path"])
        try:
            is_file = path.is_absolute() and path.is_file()
        except (OSError, ValueError):
            is_file = False
        if not is_file:
            raise MessageRefused(f"an artifact must be a file; {shown(str(path))} is none")
        name = mask_text(fields["name"] or path.name, self._known)
        if "/" in name or len(name) > 255 or not name.isprintable():
            raise MessageRefused(f"an artifact's name is a file name, not {shown(name)}")
        self.new_artifacts.append((str(path), name))
        return ""

    def _progress(self, fields: Dict[str, Any]) -> str:
        message = mask_text(fields["message"], self._known)[:1000]
        self._spool.event({"event": "progress", "percent": fields["percent"], "message": message})
        return ""

    def _warn(self, fields: Dict[str, Any]) -> str:
        self._say(Stream.WARNING, fields["message"])
        return ""

    def _fail(self, fields: Dict[str, Any]) -> str:
        self.failure = fields["message"]
        return ""

    def _say(self, stream: Stream, text: str) -> None:
        self._spool.text(stream, self._masked(text))

    def _masked(self, text: str) -> bytes:
        return mask_text(text, self._known).rstrip("\n").encode("utf-8", "replace") + b"\n"


class ServiceSocket:
    """The supervisor's end of MANYARM_FD; what a script does not read waits here, within a limit."""

    def __init__(self, end: socket.socket, desk: ServiceDesk) -> None:
        self._end = end
        self._end.setblocking(False)
        self._desk = desk
        self._buffer = bytearray()
        self._unsent = b""
        self._skipped: _Skipped | None = None
        self.is_closed = False

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    @property
    def wants_to_send(self) -> bool:
        return bool(self._unsent)

    def exchange(self) -> None:
        """Answer what came, one question after the other; an answer that is not read yet holds back the next."""
        with suppress(BlockingIOError, ConnectionError):
            while True:
                while self._unsent:
                    self._unsent = self._unsent[self._end.send(self._unsent) :]
                if self._answer_one():
                    continue
                piece = self._end.recv(_READ_BYTES)
                if not piece:
                    self.is_closed = True
                    return
                self._buffer += piece

    def forget_half(self) -> None:
        """The script ended; half a message that it left would spoil the next one's."""
        self._buffer.clear()
        self._unsent = b""
        self._skipped = None

    def _answer_one(self) -> bool:
        if self._skipped is not None:
            return self._skip(self._skipped)
        try:
            data = take_frame(self._buffer)
        except MessageRefused as error:
            announced = int.from_bytes(self._buffer[:4], "big")
            if announced > _SKIP_MAX_BYTES:
                self._buffer.clear()
                announced = 0
            else:
                del self._buffer[:4]
            return self._skip(_Skipped(str(error), announced))
        if data is None:
            return False
        self._unsent = self._desk.answer(data)
        return True

    def _skip(self, skipped: _Skipped) -> bool:
        """Let a refused message pass; its answer comes behind its last byte."""
        passing = bytes(self._buffer[: skipped.left])
        del self._buffer[: skipped.left]
        skipped.left -= len(passing)
        skipped.wants_text = skipped.wants_text or _WANTS_TEXT in passing
        self._skipped = skipped if skipped.left else None
        if skipped.left:
            return False
        self._unsent = _reply(skipped.sentence, is_ok=False, as_text=skipped.wants_text)
        return True


@dataclass
class _Skipped:
    """A message that is refused for its length, while it passes."""

    sentence: str
    left: int
    wants_text: bool = False


def _reply(text: str, *, is_ok: bool, as_text: bool) -> bytes:
    r"""Shells read `ok <bytes>\n<text>`; everybody else a frame of JSON."""
    state = "ok" if is_ok else "error"
    if as_text:
        data = text.encode("utf-8", "replace")
        return b"%s %d\n%s" % (state.encode("ascii"), len(data), data)
    return frame(json.dumps({state: text}).encode("ascii"))
