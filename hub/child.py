"""What a process started by `manyarm up` owes its parent: it takes its key, says when it is ready, leaves with it.

The key comes through an inherited pipe that the parent then keeps open: when it closes, the parent is gone. Nobody has
to find and end what a killed parent has left behind.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable

KEY_DESCRIPTOR = "MANYARM_KEK_FD"
READY_DESCRIPTOR = "MANYARM_READY_FD"
KEY_BYTES = 32
# -P: where we stand must not be where modules come from; a home called `hub` would hide the package of that name.
PYTHON = (sys.executable, "-P", "-m")


def inherited_key() -> bytes | None:
    """The key-encrypting key that the parent hands over, or None where nobody started us; ask once.

    Raises:
        EOFError: The parent went before it had written the key.
    """
    descriptor = os.environ.get(KEY_DESCRIPTOR)
    if descriptor is None:
        return None
    key = b""
    while len(key) < KEY_BYTES:
        part = os.read(int(descriptor), KEY_BYTES - len(key))
        if not part:
            raise EOFError("the process that started this one is gone")
        key += part
    return key


def leave_with_parent(leave: Callable[[], None]) -> None:
    """Call `leave` from a thread of its own as soon as the parent has gone."""
    descriptor = os.environ.pop(KEY_DESCRIPTOR, None)
    if descriptor is None:
        return

    def wait() -> None:
        with contextlib.suppress(OSError):
            os.read(int(descriptor), 1)
        leave()

    threading.Thread(target=wait, name="leave-with-parent", daemon=True).start()


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
