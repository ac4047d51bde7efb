"""What a process owes the one that has started it, `manyarm up`: it says when it is ready, and leaves with it.

The parent hands over two pipes by their numbers in the environment: one to speak into once, one that the parent keeps
open as long as it lives. Nobody has to find and end what a killed parent has left behind.
"""

import contextlib
import json
import os
import threading
from collections.abc import Callable

READY_DESCRIPTOR = "MANYARM_READY_FD"
LEASH_DESCRIPTOR = "MANYARM_LEASH_FD"


_held: dict[str, str] = {}


def leave_with_parent(leave: Callable[[], None], descriptor: str = LEASH_DESCRIPTOR) -> None:
    """Call `leave` from a thread of its own as soon as the parent has gone; `descriptor` names the pipe's number."""
    number = os.environ.pop(descriptor, None)
    if number is None:
        return
    _held[descriptor] = number

    def wait() -> None:
        with contextlib.suppress(OSError):
            os.read(int(number), 1)
        leave()

    threading.Thread(target=wait, name="leave-with-parent", daemon=True).start()


def environment_for_successor() -> dict[str, str]:
    """For a program that takes this one's place in the same process: it leaves with the parent too."""
    return os.environ | _held


def say_ready(**facts: str) -> None:
    """Tell the parent that work can begin; `facts` are what others need to know, such as the port that was taken."""
    _say({"ready": True, **facts})


def say_failed(sentence: str, status: int) -> None:
    """Tell the parent why this process cannot work at all, and with which status the whole should end."""
    _say({"ready": False, "why": sentence, "status": status})


def _say(words: dict[str, object]) -> None:
    descriptor = os.environ.pop(READY_DESCRIPTOR, None)
    if descriptor is None:
        return
    with contextlib.suppress(OSError):
        os.write(int(descriptor), json.dumps(words).encode() + b"\n")
        os.close(int(descriptor))
