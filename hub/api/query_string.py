"""What may stand behind the question mark: declared names, each once, as text of a bounded length."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from hub.queries.listing import DEFAULT_LIMIT, MAX_LIMIT, Slice

_WHOLE = re.compile(r"[0-9]{1,15}")


def _whole(text: object) -> object:
    # int() would take ١٢, 1_000 and blanks.
    if isinstance(text, str):
        if _WHOLE.fullmatch(text) is None:
            raise ValueError("expected a whole number")
        return int(text)
    return text


def _flag(text: object) -> object:
    if isinstance(text, str):
        if text not in {"true", "false"}:
            raise ValueError("expected true or false")
        return text == "true"
    return text


Whole = Annotated[int, BeforeValidator(_whole)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Word = Annotated[str, StringConstraints(max_length=200)]


class Query(BaseModel):
    """Takes nothing; the parent of those that take something."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ListQuery(Query):
    limit: Annotated[Whole, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    after: Annotated[str, StringConstraints(max_length=2000)] = ""

    @property
    def slice(self) -> Slice:
        return Slice(self.limit, self.after)


class SearchQuery(ListQuery):
    """`q`: part of a name, taken literally."""

    q: Word = ""
