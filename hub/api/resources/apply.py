"""`/apply`: a whole project file at once."""

from hub.api.route import Resource

RESOURCE = Resource("apply")
RESOURCE.change("POST", "/apply", "apply")
