"""A value that is dear to look up and changes rarely: asked for anew once a second."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Calls `look_up` when the last answer is older than `kept_s`; for any thread (two may ask at once, no harm)."""

    def __init__(self, look_up: Callable[[], T], kept_s: float = 1.0) -> None:
        self._look_up = look_up
        self._kept_s = kept_s
        self._answer: tuple[float, T] | None = None

    def __call__(self) -> T:
        now = time.monotonic()
        if self._answer is None or now - self._answer[0] > self._kept_s:
            self._answer = (now, self._look_up())
        return self._answer[1]
