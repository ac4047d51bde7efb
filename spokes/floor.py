"""Which Python a spoke needs, said in one sentence instead of a trace; written so that an old one can read it.

`spokes/__main__.py` imports this before anything else, so an old one sends nothing and writes nothing.
"""

import sys
from typing import Sequence  # noqa: UP035  The place where an old one has it.

NEEDED = (3, 11)


def refusal(version: Sequence[int]) -> str:
    """The sentence for an interpreter of this version; empty where it is new enough."""
    if tuple(version[:2]) >= NEEDED:
        return ""
    found, needed = (f"{one[0]}.{one[1]}" for one in (version, NEEDED))
    return f"manyarm-spoke: this is Python {found}, and {needed} or later is needed; nothing was sent or written"


if refusal(sys.version_info[:2]):
    sys.exit(refusal(sys.version_info[:2]))
