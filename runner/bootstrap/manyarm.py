"""What a Python script of a job may ask of its supervisor; found by `import manyarm`."""

from __future__ import annotations

import json
import os
import select
import struct
import sys
import threading
from typing import Any, NoReturn

_turn = threading.Lock()


class ManyarmError(Exception):
    """The supervisor refused what the script asked for."""


def get_variable(name: str) -> str:
    """The value of a variable, expanded; ManyarmError where there is none."""
    return _ask({"do": "get_variable", "name": name})


def set_variable(name: str, value: object, secret: bool = False) -> None:
    """An output variable for later steps: `#{Manyarm.Step[this step].Output.NAME}`."""
    _ask({"do": "set_variable", "name": name, "value": str(value), "secret": bool(secret)})


def new_artifact(path: str | os.PathLike[str], name: str = "") -> None:
    """A file to be collected when this script has ended."""
    _ask({"do": "new_artifact", "path": os.path.abspath(path), "name": name})  # noqa: PTH100  links stay as they are


def progress(percent: float, message: str = "") -> None:
    _ask({"do": "progress", "percent": int(percent), "message": message})


def warn(message: str) -> None:
    _ask({"do": "warn", "message": message})


def fail(message: str) -> NoReturn:
    """End the script; the step fails with this message."""
    _ask({"do": "fail", "message": message})
    sys.exit(1)


def _ask(question: dict[str, Any]) -> str:
    if "MANYARM_FD" not in os.environ:
        raise ManyarmError("this script is not run by Manyarm: MANYARM_FD is not set")
    data = json.dumps(question).encode("ascii")
    with _turn:
        answer = _exchange(int(os.environ["MANYARM_FD"]), struct.pack(">I", len(data)) + data)
    if "ok" not in answer:
        raise ManyarmError(answer.get("error", "refused"))
    return str(answer["ok"])


def _exchange(descriptor: int, data: bytes) -> dict[str, Any]:
    """One question at a time, whichever process asks: a byte in the pipe is the right to ask."""
    take, give = map(int, os.environ["MANYARM_LOCK"].split())
    if select.select([take], [], [], 10)[0]:
        os.read(take, 1)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        (size,) = struct.unpack(">I", _read(descriptor, 4))
        answer: dict[str, Any] = json.loads(_read(descriptor, size))
        return answer
    finally:
        os.write(give, b".")


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(descriptor, size - len(data))
        if not piece:
            raise ManyarmError("the supervisor is gone")
        data += piece
    return data
