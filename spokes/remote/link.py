"""The spoke's end of a hand: starts it over an open connection, asks it much at a time, knows when it is gone."""

import itertools
import json
import logging
import secrets
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from spokes.agent.errors import MachineUnfit, MachineUnreachable
from wire.errors import Code, Refused, excerpt

logger = logging.getLogger(__name__)

_HEAD = struct.Struct(">II")
_REPLY_MAX = 32 * 1024 * 1024
_NOISE_MAX = 64 * 1024
_START_S = 30.0
_ANSWER_S = 120.0
_RECEIVE = 1024 * 1024
_OLDEST = "3.9"

_PYTHONS = "python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9"
_BOOT = r"import sys; s=sys.stdin.buffer; exec(compile(s.read(int(s.readline())), \"hand\", \"exec\"))"
_VERSION = r"import sys; print(\"%d.%d\" % sys.version_info[:2])"
# For any login shell: one line, without a quote of its own kind; what people say is $1 alone, and that is a path.
_SCRIPT = (
    "umask 077; PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin; export PATH; seen=; "
    f"for p in ${{1:-{_PYTHONS}}}; do "
    f'v=$("$p" -I -S -c "{_VERSION}" 2>/dev/null </dev/null) || continue; '
    f'case "$v" in 3.9|3.[1-9][0-9]) printf "\\n%s python\\n" "$2"; exec "$p" -I -S -B -c "{_BOOT}";; esac; '
    'seen="$seen $v"; done; printf "\\n%s none%s\\n" "$2" "$seen"; exit 127'
)


class Session(Protocol):
    """One command on the target, with its input and output; all raise MachineUnreachable."""

    def send(self, content: bytes) -> None: ...

    def receive(self, size: int, timeout_s: float | None = None) -> bytes: ...

    def errors(self, size: int = 4096) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Reply:
    shown: Mapping[str, Any]
    body: bytes


class Fault(Exception):
    """The hand could not do it; `word` is for us, the text for people."""

    def __init__(self, shown: Mapping[str, Any]) -> None:
        super().__init__(str(shown.get("text", "")))
        self.word = str(shown["fault"])
        self.shown = shown


class HandLink:
    """A hand at work; used by any thread.

    Args:
        start: Starts a command on the target.
        home: The spoke's home there, "" for its usual place.
        python: The interpreter there, "" for the first that fits.

    Raises:
        MachineUnreachable: With what the target lacks.
    """

    def __init__(self, start: Callable[[str], Session], *, home: str, python: str) -> None:
        nonce = secrets.token_hex(16)
        self._session = start(f"exec /bin/sh -c '{_SCRIPT}' manyarm '{python}' {nonce}")
        self._numbers = itertools.count(1)
        self._pen = threading.Lock()
        self._lock = threading.Lock()
        self._open: dict[int, Future[Reply]] = {}
        self._lost: MachineUnreachable | None = None
        self.sent_bytes = 0
        try:
            rest = self._await_python(nonce)
            source = _source()
            self._session.send(b"%d\n" % len(source) + source)
        except BaseException:
            self._session.close()
            raise
        threading.Thread(target=self._read, args=(rest,), name="hand", daemon=True).start()
        try:
            self.facts = self.ask("open", home=home, timeout_s=_START_S).shown
        except Fault as fault:
            self.close()
            raise _cannot_serve(fault) from fault

    @property
    def is_alive(self) -> bool:
        return self._lost is None

    def ask(self, do: str, body: bytes = b"", *, timeout_s: float = _ANSWER_S, **request: Any) -> Reply:
        """Have something done.

        Raises:
            Fault: It could not be done.
            MachineUnreachable: Nobody knows whether it was done.
        """
        number, future = self._send(do, body, request)
        try:
            return future.result(timeout_s)
        except TooLate:
            self._end(MachineUnreachable(f"the target did not answer within {timeout_s:.0f} s"))
            raise MachineUnreachable(f"the target did not answer within {timeout_s:.0f} s") from None
        finally:
            with self._lock:
                self._open.pop(number, None)

    def close(self) -> None:
        """The hand leaves; what it has started goes on."""
        self._end(MachineUnreachable("the connection was closed"))

    def _send(self, do: str, body: bytes, request: Mapping[str, Any]) -> "tuple[int, Future[Reply]]":
        future: Future[Reply] = Future()
        with self._lock:
            if self._lost is not None:
                raise MachineUnreachable(str(self._lost))
            number = next(self._numbers)
            self._open[number] = future
        text = json.dumps({"id": number, "do": do, **request}).encode()
        with self._pen:
            self.sent_bytes += len(text) + len(body)
            self._session.send(_HEAD.pack(len(text), len(body)) + text + body)
        return number, future

    def _await_python(self, nonce: str) -> bytes:
        """Skip what the login shell says; returns what came behind our word."""
        mark = f"\n{nonce} ".encode()
        heard = b""
        while mark not in heard or b"\n" not in heard[heard.index(mark) + 1 :]:
            piece = self._session.receive(4096, _START_S)
            heard += piece
            if not piece or len(heard) > _NOISE_MAX:
                said = (heard + self._session.errors()).strip()
                raise MachineUnreachable(
                    "the target runs no command of ours: its login shell or /bin/sh did not do as a POSIX shell does"
                    + (f" and said {excerpt(said)}" if said else "")
                )
        word, _, rest = heard.partition(mark)[2].partition(b"\n")
        kind, *seen = word.decode("ascii", "replace").split()
        if kind == "python":
            return rest
        if seen:
            raise Refused(Code.RUN_PLATFORM, f"the target has Python {', '.join(seen)}; {_OLDEST} or later is needed")
        raise Refused(Code.RUN_PLATFORM, f"the target has no python3 that runs; {_OLDEST} or later is needed")

    def _read(self, begun: bytes) -> None:
        received = bytearray(begun)
        try:
            while True:
                self._take_replies(received)
                piece = self._session.receive(_RECEIVE)
                if not piece:
                    raise MachineUnreachable(f"the connection ended{self._last_words()}")
                received += piece
        except MachineUnreachable as error:
            self._end(error)
        except Exception as error:
            logger.exception("a hand said what nobody understands")
            self._end(MachineUnreachable(f"the target answered what cannot be read: {excerpt(str(error))}"))

    def _take_replies(self, received: bytearray) -> None:
        while len(received) >= _HEAD.size:
            text_size, body_size = _HEAD.unpack_from(received)
            if text_size + body_size > _REPLY_MAX:
                raise ValueError("an answer of too many bytes")
            end = _HEAD.size + text_size + body_size
            if len(received) < end:
                return
            shown = json.loads(received[_HEAD.size : _HEAD.size + text_size])
            body = bytes(received[_HEAD.size + text_size : end])
            del received[:end]
            self._settle(shown, body)

    def _settle(self, shown: dict[str, Any], body: bytes) -> None:
        with self._lock:
            future = self._open.pop(int(shown["id"]), None)
        if future is None:
            return
        if "fault" in shown:
            future.set_exception(Fault(shown))
        else:
            future.set_result(Reply(shown, body))

    def _last_words(self) -> str:
        said = self._session.errors().strip()
        return f": {excerpt(said[-200:])}" if said else ""

    def _end(self, why: MachineUnreachable) -> None:
        with self._lock:
            if self._lost is None:
                self._lost = why
            waiting, self._open = self._open, {}
        for future in waiting.values():
            future.set_exception(MachineUnreachable(str(why)))
        self._session.close()


def _cannot_serve(fault: Fault) -> Exception:
    if fault.word == "full":
        return Refused(Code.BLOB_SPACE, f"{fault}; make room on the target")
    return MachineUnfit(f"the target cannot be used: {fault}")


@lru_cache(maxsize=1)
def _source() -> bytes:
    return Path(__file__).with_name("hand.py").read_bytes()
