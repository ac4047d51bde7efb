"""The programs that databases bring: one that stays and answers questions, and one a file that runs it.

Passwords are in private files, never in an argument or the environment.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import threading
from pathlib import Path
from typing import BinaryIO, Callable, Iterable, List, Mapping, Sequence, Tuple

from runner.database import Tools
from runner.errors import StepFailed

_KEPT_BYTES = 64 * 1024
_SENTENCE_CHARS = 1000
_PARTING_S = 5.0
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "v": "\v"}


def program(names: Sequence[str], tools: Tools, package: str) -> str:
    """The path of the first of these programs that is installed.

    Raises:
        StepFailed: none is; says which package brings it.
    """
    found = next((path for path in (shutil.which(name, path=tools.path) for name in names) if path), None)
    if found is None:
        raise StepFailed(
            f"{names[0]} is not installed where this step runs (looked in {tools.path}); Debian's package is {package}"
        )
    return found


def private_file(path: Path, content: str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content.encode("utf-8", "surrogateescape"))
    return path


class Questions:
    """A client that stays for the whole step: it holds the lock, and answers.

    Args:
        end: Turns a word into a line of input that makes the client print it alone.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], tools: Tools, end: Callable[[str], str]
    ) -> None:
        self._end = end
        self._errors = tools.folder / "questions.err"
        with self._errors.open("wb") as errors:
            self._child = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=tools.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def ask(self, statement: str) -> List[Tuple[str, ...]]:
        """The rows that a statement gives.

        Raises:
            StepFailed: with what the client said; it is gone then.
        """
        writing, reading = self._child.stdin, self._child.stdout
        if writing is None or reading is None:
            raise StepFailed("the database's client has no pipes")
        word = secrets.token_hex(16)
        try:
            writing.write(f"{statement}\n{self._end(word)}\n".encode())
            writing.flush()
        except OSError as error:
            raise StepFailed(self._last_words()) from error
        rows: List[Tuple[str, ...]] = []
        for line in iter(reading.readline, b""):
            text = line.decode("utf-8", "replace").rstrip("\n")
            if text == word:
                return rows
            rows.append(tuple(re.sub(r"\\(.)", _unescaped, value) for value in text.split("\t")))
        raise StepFailed(self._last_words())

    def close(self) -> None:
        """The lock goes with its client."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            try:
                self._child.stdin.close()
            except BrokenPipeError:
                self._child.kill()
        try:
            self._child.wait(_PARTING_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _last_words(self) -> str:
        with self._errors.open("rb") as errors:
            return sentence(errors.read(_KEPT_BYTES)) or "the connection to the database is lost"


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found.group(1), found.group(1))


def run_client(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    *,
    given: Iterable[bytes] = (),
    reword: Callable[[bytes], bytes] = bytes,
) -> None:
    """Run a client to its end; what it prints goes to the log, and what it complains of too, line by line reworded.

    Raises:
        StepFailed: it ended with another exit code than 0; with its words.
    """
    child = subprocess.Popen(
        command, env=dict(environment), cwd=folder, stdin=subprocess.PIPE, stdout=None, stderr=subprocess.PIPE
    )
    kept = bytearray()
    hearing = threading.Thread(target=_pass_on, args=(child.stderr, kept, reword), daemon=True)
    hearing.start()
    _feed(child, given)
    code = child.wait()
    hearing.join()
    if code:
        raise StepFailed(sentence(bytes(kept)) or f"{Path(command[0]).name} ended with exit code {code}")


def _feed(child: subprocess.Popen[bytes], given: Iterable[bytes]) -> None:
    if child.stdin is None:
        return
    try:
        for piece in given:
            child.stdin.write(piece)
        child.stdin.close()
    except BrokenPipeError:
        # It ended before it had read all; its exit code says why.
        child.stdin = None


def _pass_on(stream: BinaryIO, kept: bytearray, reword: Callable[[bytes], bytes]) -> None:
    with os.fdopen(os.dup(2), "wb", buffering=0) as log:
        while line := stream.readline(_KEPT_BYTES):
            told = reword(line)
            if len(kept) < _KEPT_BYTES:
                kept += told
            log.write(told)


def sentence(told: bytes) -> str:
    """The first error of what a client said, with what belongs to it; else its last line."""
    lines = [line for line in told.decode("utf-8", "replace").splitlines() if line.strip()]
    first = next((at for at, line in enumerate(lines) if re.search(r"\b(ERROR|FATAL|error):?\s", line)), len(lines) - 1)
    return " ".join(line.strip() for line in lines[max(first, 0) : first + 3])[:_SENTENCE_CHARS]
