"""Secrets leave a request and come back to their places; nothing else moves."""

import pytest

from hub.operations.apply import secret_paths
from hub.operations.sealed_values import SealedValueMisplaced, put_back, take_out

REQUEST = {
    "documents": [
        {
            "kind": "Project",
            "variables": [{"name": "A", "value": "plain"}, {"name": "B", "value": "hush", "secret": True}],
        },
        {"kind": "VariableSet", "variables": [{"name": "C", "value": "still", "secret": True}]},
    ]
}


def test_what_is_taken_out_is_put_back_where_it_was():
    shown, values = take_out(REQUEST, secret_paths(REQUEST))
    assert "hush" not in str(shown)
    assert "still" not in str(shown)
    assert values == {"documents/0/variables/1/value": "hush", "documents/1/variables/0/value": "still"}
    assert put_back(shown, values) == REQUEST
    assert REQUEST["documents"][0]["variables"][1]["value"] == "hush"


@pytest.mark.parametrize("path", ["documents/0/variables/0/value", "documents/9/value", "nowhere", "documents/x/y", ""])
def test_a_value_goes_to_no_place_that_was_not_emptied_for_it(path):
    shown, _ = take_out(REQUEST, secret_paths(REQUEST))
    with pytest.raises(SealedValueMisplaced):
        put_back(shown, {path: "smuggled"})


@pytest.mark.parametrize(
    "request_",
    [{}, {"documents": None}, {"documents": [1, None, "x"]}, {"documents": [{"variables": [1, {"secret": True}]}]}],
)
def test_a_malformed_request_has_no_secrets_and_breaks_nothing(request_):
    assert take_out(request_, secret_paths(request_)) == (request_, {})
