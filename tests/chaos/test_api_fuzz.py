"""F31: whatever comes to the API, it answers with a status below 500 and a problem in words, and it answers the next one.

Bodies begin as the published document describes them, then something in them is exchanged: by a seed, which a failure
prints. `make chaos` runs many more of them than the suite.
"""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.api_hub import ApiHub, running_api

SEED = 31
A_ROUTE = 15
A_ROUTE_IN_CHAOS = 150
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 1.5, "", " ", "x" * 5_000, "\u0000", "\u202e", "../..", "#{", "#{a|b}", "a\nb",
    "0" * 32, [], {}, [None], [[]], {"a": {}}, ["x"] * 2_000, {"": ""}, "١٢", "1_0", "9" * 400,
)  # fmt: skip
NAMES = ("web", "web", "web", "web", "x", "0" * 32, "%2e%2e", "a%00b", "Ω")
LEFT_OUT = {"/tasks/{task}/stream"}  # Answers for minutes, as it should.


@pytest.fixture(scope="module")
def api(tmp_path_factory) -> Iterator[ApiHub]:
    with running_api(tmp_path_factory.mktemp("hub")) as made:
        # Something of many kinds is there under the name that the requests like best.
        for path in ("environments", "lifecycles", "variable-sets", "teams"):
            made.post(f"/{path}", {"name": "web"})
        made.post("/projects", {"name": "web", "lifecycle": "web"})
        made.add_target("web", roles=("web",), environments=("web",))
        yield made


def test_f31_no_request_is_answered_with_a_fault_of_our_own(api):
    ask_everything(api, SEED, A_ROUTE)


@pytest.mark.chaos
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", range(4))
def test_f31_many_requests_are_answered_with_no_fault_of_our_own(api, seed):
    ask_everything(api, seed, A_ROUTE_IN_CHAOS)


def ask_everything(api: ApiHub, seed: int, times: int) -> None:
    document = api.get("/openapi.json", key="").json
    for path, methods in sorted(document["paths"].items()):
        for method, described in sorted(methods.items()):
            if path in LEFT_OUT:
                continue
            for number in range(times):
                chance = random.Random(f"{seed} {method} {path} {number}")
                ask(api, document, path, method, described, chance, f"seed {seed}, number {number}")
    assert api.get("/projects").status_code == 200


def ask(api: ApiHub, document: Any, path: str, method: str, described: Any, chance: random.Random, where: str) -> None:
    schema = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    body = harmed(example(document, schema, chance), chance) if schema is not None else None
    for parameter in described.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", chance.choice(NAMES))
    query = chance.choice(("", "", "?limit=5", "?after=zz", "?x=1", "?limit=" + "9" * 30, "?q=%ff"))
    headers = {} if method == "get" else {"If-Match": "*"}
    answer = api.call(method.upper(), path + query, body, headers=headers)
    said = f"{where}: {method} {path}{query} {str(body)[:500]} -> {answer.status_code} {answer.text[:500]}"
    assert answer.status_code < 500, said
    if answer.status_code >= 400:
        assert (answer.json or {}).get("detail"), said


def harmed(body: Any, chance: random.Random) -> Any:
    """The body with one place in it exchanged, doubled or taken away; sometimes as it is."""
    if chance.random() < 0.2:
        return body
    places = list(_places(body))
    if not places or chance.random() < 0.1:
        return chance.choice(ODD)
    inside, key = chance.choice(places)
    deed = chance.random()
    if deed < 0.15:
        del inside[key]
    elif deed < 0.25 and isinstance(inside, dict):
        inside[str(key) + "_"] = inside[key]
    else:
        inside[key] = chance.choice(ODD)
    return body


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def example(document: Any, schema: Any, chance: random.Random, depth: int = 0) -> Any:
    """Something that the schema describes."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example(document, document["components"]["schemas"][name], chance, depth + 1)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return example(document, chance.choice(schema[choice]), chance, depth + 1)
    if "enum" in schema or "const" in schema:
        return chance.choice(schema.get("enum") or [schema["const"]])
    return _PLAIN.get(schema.get("type", ""), _anything)(document, schema, chance, depth)


def _an_object(document: Any, schema: Any, chance: random.Random, depth: int) -> Any:
    required = schema.get("required", ())
    return {
        name: example(document, found, chance, depth + 1)
        for name, found in schema.get("properties", {}).items()
        if name in required or (depth < 6 and chance.random() < 0.7)
    }


def _an_array(document: Any, schema: Any, chance: random.Random, depth: int) -> Any:
    return [example(document, schema.get("items", {}), chance, depth + 1) for _ in range(chance.choice((0, 1, 2)))]


def _anything(_document: Any, _schema: Any, chance: random.Random, _depth: int) -> Any:
    return chance.choice(("x", 1, None, {}, []))


_PLAIN = {
    "object": _an_object,
    "array": _an_array,
    "string": lambda _d, _s, chance, _n: chance.choice(("web", "web", "1.0.0", "x y", "bash", "true")),
    "integer": lambda _d, schema, chance, _n: chance.choice((schema.get("minimum", 0), 1, 5, 60)),
    "number": lambda _d, _s, chance, _n: chance.random() * 10,
    "boolean": lambda _d, _s, chance, _n: chance.random() < 0.5,
    "null": lambda *_: None,
}
