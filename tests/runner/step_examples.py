"""The examples of docs/steps.md that tests execute: each stands under its kind, with what belongs to it."""

import re
from typing import Any

from ruamel.yaml import YAML

from tests.runner.step_tables import PAGE

TEXT = PAGE.read_text()


def example(kind: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The parts of a kind's tested example: its step, and each further block by the word before it."""
    section = TEXT.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    blocks = dict(re.findall(r"<!-- ([\w: -]+) -->\n```\w*\n(.*?)\n```", section, re.DOTALL))
    (step,) = YAML(typ="safe").load(blocks[f"test: {kind}"])
    return step, blocks
