"""Default deny: every view says what it needs, or why nothing; an application with a silent view does not start.

    @permission(Permission.TARGET_READ)          @public(reason="says only that the process lives")

The declaration is the first fence (does the caller hold this permission anywhere at all?); the services behind it ask
again for the very project and environment.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask

from hub.permissions import Permission

View = TypeVar("View", bound=Callable[..., Any])
_ATTRIBUTE = "__manyarm_declared__"


@dataclass(frozen=True, slots=True)
class Declared:
    """`permission` None and `reason` "" together mean: any signed-in caller, about himself."""

    permission: Permission | None = None
    public_reason: str = ""
    own: bool = False

    @property
    def is_public(self) -> bool:
        return bool(self.public_reason)


class Undeclared(RuntimeError):
    """Names the rule whose view declares nothing."""


def permission(needed: Permission) -> Callable[[View], View]:
    """Whoever calls this must hold the permission somewhere."""
    return lambda view: declare(view, Declared(permission=needed))


def public(*, reason: str) -> Callable[[View], View]:
    """Anybody may call this; the reason is for whoever reviews it."""
    if not reason.strip():
        raise ValueError("a public view needs its reason")
    return lambda view: declare(view, Declared(public_reason=reason))


def own(view: View) -> View:
    """Whoever is signed in may call this; it shows and changes what is the caller's own."""
    return declare(view, Declared(own=True))


def declare(view: View, declared: Declared) -> View:
    setattr(view, _ATTRIBUTE, declared)
    return view


def declared_of(view: Callable[..., Any] | None) -> Declared | None:
    found = getattr(view, _ATTRIBUTE, None)
    return found if isinstance(found, Declared) else None


def refuse_undeclared(app: Flask) -> None:
    """Walk the whole URL map.

    Raises:
        Undeclared: a rule's view has no declaration; the message names it.
    """
    for rule in app.url_map.iter_rules():
        if declared_of(app.view_functions.get(rule.endpoint)) is None:
            methods = ",".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}))
            raise Undeclared(
                f"{methods} {rule.rule} (view {rule.endpoint!r}) declares neither a permission nor @public(reason=…)"
            )
