"""JavaScript, run by Node; scripts `require("manyarm")`."""

from __future__ import annotations

from typing import Tuple

from runner.language import Language, Start, on_path


def _command(start: Start) -> Tuple[str, ...]:
    # A promise that nobody looks after is an error to Node 15 and later; here it is one to all.
    return (start.program, "--unhandled-rejections=strict", *start.options)


LANGUAGE = Language(
    name="node",
    extensions=("js", "cjs", "mjs"),
    preference=3,
    programs=("node", "nodejs"),
    find=on_path("node", "nodejs"),
    command=_command,
    bootstrap=("manyarm.js",),
    environment=lambda tools: {"NODE_PATH": tools},
)
