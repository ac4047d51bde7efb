"""What a part that `manyarm up` has started owes it: it takes its key, says when it is ready, leaves with it.

The key comes through an inherited pipe that the parent then keeps open: when it closes, the parent is gone.
"""

import os
import sys
from collections.abc import Callable

from config import parent
from config.parent import READY_DESCRIPTOR, say_failed, say_ready

__all__ = [
    "KEY_DESCRIPTOR",
    "PYTHON",
    "READY_DESCRIPTOR",
    "inherited_key",
    "leave_with_parent",
    "say_failed",
    "say_ready",
]

KEY_DESCRIPTOR = "MANYARM_KEK_FD"
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
    parent.leave_with_parent(leave, KEY_DESCRIPTOR)
