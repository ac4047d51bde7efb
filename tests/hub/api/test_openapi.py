"""The document says what the routes are, no more and no less."""

import json
import re

import pytest

from hub.api.app import all_routes
from hub.operations.catalogue import CATALOGUE

INTERNAL = {
    "administrator.create-first", "user.create", "user.password", "package.push-complete",
    "deployment.create", "deployment.rollback", "deployment.preview",
}  # fmt: skip


@pytest.fixture(scope="module")
def document(api):
    return api.get("/openapi.json", key="").json


def test_every_route_stands_in_the_document_and_nothing_else_does(api, document):
    served = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix("/api/v1")))
        for rule in api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/v1") and not rule.rule.endswith("openapi.json")
    }
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == served


def test_every_reference_leads_somewhere_and_every_id_is_its_own(document):
    references = set(re.findall(r'"\$ref": "#/components/(\w+)/([^"]+)"', json.dumps(document)))
    for kind, name in references:
        assert name in document["components"][kind], name
    ids = [found["operationId"] for methods in document["paths"].values() for found in methods.values()]
    assert len(ids) == len(set(ids))
    assert document["openapi"] == "3.1.0"


def test_every_operation_can_be_asked_for_over_the_api():
    reached = {route.operation.name for route in all_routes() if route.operation is not None}
    assert set(CATALOGUE) - reached == INTERNAL


def test_what_the_address_says_does_not_stand_in_the_body(document):
    body = document["paths"]["/projects/{project}/process"]["put"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert set(body["properties"]) == {"steps"}
    assert body["additionalProperties"] is False
    headers = document["paths"]["/projects/{project}"]["put"]["parameters"]
    assert [found["name"] for found in headers if found["in"] == "header"] == ["If-Match"]


def test_every_changing_route_names_the_permission_that_it_needs(document):
    for path, methods in document["paths"].items():
        for method, found in methods.items():
            own = path in {"/apply", "/users/{user}/password"} or path.startswith(("/api-keys", "/sessions"))
            if method != "get" and not own:
                assert found.get("x-permission"), (method, path)
