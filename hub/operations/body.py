"""What the bodies of operations are made of: strict models that refuse every field they do not name.

In strict mode a list is a list and a text is a text: nothing is turned into something else on the way in.
"""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from hub.infrastructure.display_names import fault_of

ID_PATTERN = re.compile(r"[0-9a-f]{32}")


class Body(BaseModel):
    """A request's body. `hide_input_in_errors`: what was typed may be a secret."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Reply(BaseModel):
    """An answer's body; only the fields that it names ever leave the hub."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Nothing(Reply):
    """The answer of what has nothing to say (204)."""


def is_id(text: str) -> bool:
    """Whether a reference is one of our ids; anything else is a name."""
    return ID_PATTERN.fullmatch(text) is not None


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _name(text: str) -> str:
    fault = fault_of(text)
    if fault is not None:
        raise ValueError(fault)
    return text


def _one_line(text: str) -> str:
    if any(_is_hidden(c) for c in text):
        raise ValueError("expected no control or invisible character")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_name)]
"""What people call a thing; unique among its kind whatever the case of its letters."""

Ref = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_one_line)]
"""The name or the id of a thing that exists."""

Line = Annotated[str, StringConstraints(max_length=500), AfterValidator(_one_line)]
Text = Annotated[str, StringConstraints(max_length=20_000)]
Role = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_name)]
RoleList = Annotated[list[Role], Field(max_length=50)]
RefList = Annotated[list[Ref], Field(max_length=500)]

IfVersion = Annotated[int, Field(ge=0, description="The version that was read; 0 where any will do.")]
"""Of every update: another version in the database means that somebody was faster (412)."""
