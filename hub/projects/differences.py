"""PURE. What changed between two states of one document, item by item, for a plan that people read."""

from typing import Any

from pydantic import Field, JsonValue

from hub.operations.body import Reply

Document = dict[str, Any]

# Lists whose items have names: a change of one item is shown as that, not as a change of the list.
_NAMED = ("process", "variables", "phases")


class Change(Reply):
    """`from` is null for what is new, `to` for what goes. Secrets are `***`."""

    field: str
    before: JsonValue = Field(serialization_alias="from")
    after: JsonValue = Field(serialization_alias="to")


def changes(before: Document | None, after: Document) -> list[Change]:
    """Field by field, in the order of the document; nothing where both are equal."""
    old = before or {}
    found: list[Change] = []
    for field in dict.fromkeys([*after, *old]):
        if field in {"kind", "name"}:
            continue
        if field in _NAMED:
            found += _items(field, old.get(field) or [], after.get(field) or [])
        elif old.get(field) != after.get(field):
            found.append(Change(field=field, before=old.get(field), after=after.get(field)))
    return found


def _items(field: str, before: list[Document], after: list[Document]) -> list[Change]:
    old, new = _by_place(before), _by_place(after)
    found = [
        Change(field=f"{field}.{place}", before=old.get(place), after=new.get(place))
        for place in dict.fromkeys([*new, *old])
        if old.get(place) != new.get(place)
    ]
    if not found and list(old) != list(new):
        found.append(Change(field=f"{field} (order)", before=list(old), after=list(new)))
    return found


def _by_place(items: list[Document]) -> dict[str, Document]:
    """By name, and by scope where several values of a variable have one name."""
    places: dict[str, Document] = {}
    for item in items:
        scope = item.get("scope") or {}
        where = ", ".join(name for names in scope.values() for name in names)
        places[f"{item['name']} @ {where}" if where else item["name"]] = item
    return places
