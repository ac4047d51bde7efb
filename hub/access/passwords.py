"""Passwords: argon2id, few at a time, the same work for an unknown name, and none that everybody tries first."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import nacl.exceptions
import nacl.pwhash

from hub.errors import Invalid, TooMany

SHORTEST = 12
LONGEST = 256
# A common password with a year behind it, or two of them in a row, is no better than one; three words are.
WORDS_LEAST = 3

_LIST = Path(__file__).with_name("common_passwords.txt")
_PARAMETERS = re.compile(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=1\$")
_SWAPS = str.maketrans("@430!1$57", "aaeoiisst"[:9])


@dataclass(frozen=True, slots=True)
class HashCost:
    """What one hash, and so one guess, costs."""

    ops: int = 3
    memory_bytes: int = 64 * 1024 * 1024


class Passwords:
    """Hashes and checks passwords; one object a process, for it holds the queue."""

    def __init__(self, cost: HashCost | None = None, *, at_once: int = 4, wait_s: float = 10.0) -> None:
        self._cost = cost or HashCost()
        self._wait_s = wait_s
        # Each hash takes 64 MiB: a crowd at the door must not take the memory of the house.
        self._slots = threading.BoundedSemaphore(at_once)
        self._dummy = lru_cache(maxsize=1)(lambda: self._hash("a password that nobody has"))

    def hash(self, password: str) -> str:
        """The PHC string to store; TooMany if the queue is too long."""
        with self._slot():
            return self._hash(password)

    def verify(self, stored: str, password: str) -> bool:
        """Whether it is the password. An empty `stored` costs the same and is never right."""
        with self._slot():
            try:
                given = _bytes(password)
                return nacl.pwhash.argon2id.verify((stored or self._dummy()).encode("ascii"), given) and bool(stored)
            except (nacl.exceptions.CryptoError, ValueError, UnicodeEncodeError):
                return False

    def is_outdated(self, stored: str) -> bool:
        """Whether it was made at another cost than today's and should be made again at the next sign-in."""
        found = _PARAMETERS.match(stored)
        now = (str(self._cost.memory_bytes // 1024), str(self._cost.ops))
        return found is None or found.groups() != now

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=self._wait_s):
            raise TooMany("many people sign in at this moment: try again in a few seconds", retry_after_s=self._wait_s)
        try:
            yield
        finally:
            self._slots.release()

    def _hash(self, password: str) -> str:
        cost = self._cost
        hashed = nacl.pwhash.argon2id.str(_bytes(password), opslimit=cost.ops, memlimit=cost.memory_bytes)
        return bytes(hashed).decode("ascii")


def check_new_password(password: str, name: str = "") -> None:
    """Refuse what is too short, too long, or among the first guesses. No rules about kinds of characters.

    Raises:
        Invalid: with what to do instead.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise Invalid(f"a password has {SHORTEST} to {LONGEST} characters", field="password")
    try:
        _bytes(password)
    except UnicodeEncodeError as error:
        raise Invalid("the password is not text", field="password") from error
    if len(set(password)) < 5 or is_common(password, name):
        raise Invalid("this password is among the first that are guessed: take three or more words", field="password")


def is_common(password: str, name: str = "") -> bool:
    """Whether it is made of common passwords, fewer than three of them, the person's name, digits and signs."""
    words = _common_words() | ({name.casefold()} if len(name) >= 3 else frozenset())
    plain = password.casefold()
    return plain in words or any(_is_covered(form, words) for form in {plain, plain.translate(_SWAPS)})


def _is_covered(text: str, words: frozenset[str]) -> bool:
    if len(text) > 64:
        return False
    longest = max(map(len, words))

    @cache
    def covered(start: int, used: frozenset[str]) -> bool:
        if start == len(text):
            return True
        if not text[start].isalpha() and covered(start + 1, used):
            return True
        for end in range(start + 3, min(len(text), start + longest) + 1):
            word = text[start:end]
            if word in words and len(used | {word}) < WORDS_LEAST and covered(end, used | {word}):
                return True
        return False

    return covered(0, frozenset())


@cache
def _common_words() -> frozenset[str]:
    lines = _LIST.read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def _bytes(password: str) -> bytes:
    return password.encode("utf-8")
