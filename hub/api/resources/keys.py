"""`/keys`: the hub's own keys, and how to put a new one in the place of an old one."""

from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import keys as queries
from hub.queries.keys import KeysView

RESOURCE = Resource("keys")


@RESOURCE.get("/keys", KeysView, Permission.KEY_EDIT, "The hub's own keys, and the trust document that names them")
def list_keys(_: Call) -> KeysView:
    return queries.keys()


RESOURCE.change("POST", "/keys/<key>/rotate", "key.rotate")
