"""What a Python script of a job may ask of its supervisor; found by `import manyarm`.

As a program, `manyarm.py VERB TEXT…`, it asks for scripts of other languages; where a value or a message is `-`, it is
read from standard input: arguments are for every process to see.
"""

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
    data = bytearray()
    while len(data) < size:
        piece = os.read(descriptor, size - len(data))
        if not piece:
            raise ManyarmError("the supervisor is gone")
        data += piece
    return bytes(data)


def _main(words: list[str]) -> int:
    verb = words[0] if words else "manyarm"
    try:
        _do(verb, [os.fsencode(word).decode("utf-8") for word in words[1:]])
    except UnicodeDecodeError:
        sentence = "expected UTF-8 text, found other bytes"
    except (ManyarmError, OSError) as error:
        sentence = str(error)
    else:
        return 0
    sys.stderr.buffer.write(f"{verb}: {sentence}\n".encode("utf-8", "surrogateescape"))
    return 1


def _do(verb: str, texts: list[str]) -> None:
    is_secret = verb == "set_variable" and "--secret" in (texts[:1] + texts[2:])
    if is_secret:
        del texts[0 if texts[0] == "--secret" else 2]
    if verb not in _TEXTS or len(texts) not in _TEXTS[verb]:
        raise ManyarmError(f"expected one of {', '.join(_TEXTS)}, and what it is to say")
    if texts[-1] == "-" and verb not in ("get_variable", "new_artifact"):
        texts[-1] = sys.stdin.buffer.read().decode("utf-8")
    first, second = texts[0], "".join(texts[1:])
    if verb == "get_variable":
        _print(first, get_variable(first))
    elif verb == "set_variable":
        set_variable(first, second, is_secret)
    elif verb == "new_artifact":
        new_artifact(first, second)
    elif verb == "progress":
        if not (first.isascii() and first.isdigit()):
            raise ManyarmError("PERCENT must be a number from 0 to 100")
        progress(int(first), second)
    elif verb == "warn":
        warn(first)
    else:
        fail(first)


def _print(name: str, value: str) -> None:
    if "\0" in value:
        raise ManyarmError(f"{name!r} holds a NUL character, which a shell cannot")
    sys.stdout.buffer.write(value.encode("utf-8"))


# How many each verb takes.
_TEXTS = {
    "get_variable": (1,),
    "set_variable": (2,),
    "new_artifact": (1, 2),
    "progress": (1, 2),
    "warn": (1,),
    "fail": (1,),
}

if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
