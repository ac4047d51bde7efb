"""What the portal is made of; hub/composition builds it, a request finds it on its application."""

from dataclasses import dataclass

from flask import current_app

from hub.api.parts import ApiParts


@dataclass(frozen=True, slots=True)
class PortalParts:
    """`origin`: the address people type, for the check of where a form comes from. `hosts`: names we answer to."""

    api: ApiParts
    origin: str
    hosts: tuple[str, ...]
    trusted_proxies: tuple[str, ...] = ()


def portal_parts() -> PortalParts:
    """The parts of the application that serves this request."""
    found = current_app.extensions["manyarm"]
    assert isinstance(found, PortalParts)
    return found
