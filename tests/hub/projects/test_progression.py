"""May this release go there: the table of cases."""

import tomllib
from pathlib import Path

import pytest

from hub.projects.progression import Phase, may_go

CASES = tomllib.loads((Path(__file__).parent / "cases" / "progression.toml").read_text())["case"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_progression(case):
    require = case.get("require", ["all"] * len(case["phases"]))
    phases = [Phase(f"p{n}", tuple(held), require[n - 1]) for n, held in enumerate(case["phases"], start=1)]
    verdict = may_go(phases, case["ask"], set(case["done"]))
    assert verdict.allowed is case["allowed"]
    assert case.get("reason", "") in verdict.reason
    assert verdict.allowed or verdict.reason
