"""How a target is reached, as a request or a project file says it; a field that is left out is left as it is.

ssh        host, port, user, account, host_key, home, python, allow_weak
cloud      account, region, properties
listening  address, thumbprint
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hub.operations.body import Body, Line, Ref

ReachedKind = Literal["ssh", "cloud", "listening"]


class EndpointBody(Body):
    """`host_key`: the whole public key, compared by whoever writes it here; `user` wins over that of the account."""

    host: Annotated[str, StringConstraints(max_length=253)] | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    user: Annotated[str, StringConstraints(max_length=64)] | None = None
    account: Ref | None = None
    host_key: Annotated[str, StringConstraints(max_length=4000)] | None = None
    home: Annotated[str, StringConstraints(max_length=300)] | None = None
    python: Annotated[str, StringConstraints(max_length=300)] | None = None
    allow_weak: bool | None = None
    region: Line | None = None
    properties: (
        Annotated[dict[str, Annotated[str, StringConstraints(max_length=4000)]], Field(max_length=100)] | None
    ) = None
    address: Annotated[str, StringConstraints(max_length=255)] | None = None
    thumbprint: Line | None = None
