import tomllib
from pathlib import Path

import pytest

from hub.orchestrator.errors import PlanImpossible
from hub.orchestrator.plan_codec import decode_plan, encode_plan, shown
from hub.orchestrator.planner import StepInput, VariableInput, plan
from runner.contract.job import INSTALL, PREVIEW, SWITCH, Job
from runner.contract.variables import Scope
from tests.hub.orchestrator.plans import counted, inputs, plan_of, target

CASES = tomllib.loads((Path(__file__).parent / "cases/planner.toml").read_text())["case"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_table_of_plans(case):
    written = {name: tuple(value) if isinstance(value, list) else value for name, value in case["step"].items()}
    step = StepInput(name="work", kind="run-script", **written)
    unusable = case.get("unusable", {})
    targets = [
        target(name, roles=frozenset(roles), unusable=unusable.get(name, "")) for name, roles in case["targets"].items()
    ]
    if "impossible" in case:
        with pytest.raises(PlanImpossible) as refused:
            plan(inputs([step], targets), counted())
        assert refused.value.detail == case["impossible"]
        return
    planned = plan(inputs([step], targets), counted())
    assert [[job.target.name for job in batch] for batch in planned.steps[0].batches] == case["batches"]
    assert list(planned.warnings) == case.get("warnings", [])


def test_each_target_gets_the_variables_that_hold_for_it_and_secrets_stay_references():
    variables = (
        VariableInput("Port", "80"),
        VariableInput("Port", "8080", scope=Scope(targets=frozenset({"id-b"}))),
        VariableInput("Greeting", "hello #{Name}"),
        VariableInput("Greeting", "good day", scope=Scope(environments=frozenset({"env-production"}))),
        VariableInput("Token", secret_row="row-1", expose_env=True),
    )
    planned = plan(
        inputs([StepInput("work", "run-script", rolling=9)], [target("a"), target("b")], variables=variables), counted()
    )
    told = {job.target.name: planned.job(job.id) for job in planned.steps[0].jobs}
    assert (told["a"].variables["Port"], told["b"].variables["Port"]) == ("80", "8080")
    assert told["a"].variables["Greeting"] == "good day"
    assert told["a"].variables["Manyarm.Target.Name"] == "a"
    assert told["a"].variables["Manyarm.Step.Name"] == "work"
    assert (told["a"].secret_names, told["a"].expose_env) == (("Token",), ("Token",))
    assert planned.secrets_of(planned.steps[0].batches[0][0]) == {"Token": "row-1"}
    assert "row-1" not in str(told["a"].to_json())


def test_a_secret_that_was_deleted_since_the_release_makes_no_plan():
    gone = VariableInput("Token", secret_row="row-1", missing=True)
    with pytest.raises(PlanImpossible, match="'Token' of the release has been deleted"):
        plan(inputs([StepInput("work", "run-script")], [target("a")], variables=(gone,)), counted())


def test_every_attempt_has_an_id_of_its_own_made_with_the_plan():
    planned = plan_of([StepInput("work", "run-script", retries=2, rolling=9)], ["a", "b"])
    ids = [cid for job in planned.steps[0].jobs for cid in job.attempts]
    assert len(set(ids)) == 6
    assert planned.job(ids[2]).attempt == 3


def test_a_plan_comes_back_from_its_bytes_as_it_was():
    steps = [StepInput("web", "deploy-package", package="storefront", retries=1), StepInput("say", "run-script")]
    planned = plan_of(steps, ["a", "b", "c"])
    assert decode_plan(encode_plan(planned)) == planned


def test_the_runner_reads_the_job_of_a_plan():
    planned = plan_of([StepInput("web", "deploy-package", package="storefront")], ["a"])
    job = planned.job(planned.steps[0].batches[0][0].id)
    assert Job.from_json(job.to_json()) == job
    assert job.package is not None
    assert job.package.version == "1.4.2"


def test_the_plan_that_people_see_has_no_key_and_no_secret_reference():
    variables = (VariableInput("Token", secret_row="row-1"),)
    planned = plan_of([StepInput("web", "deploy-package", package="storefront")], ["a"], variables=variables)
    seen = shown(planned)
    assert seen["steps"][0]["targets"][0]["variables"]["Token"] == "***"
    assert "f" * 64 not in str(seen)
    assert "row-1" not in str(seen)


def test_a_target_or_step_that_is_not_there_is_named():
    with pytest.raises(PlanImpossible, match="no step 'nothing' to skip"):
        plan_of([StepInput("work", "run-script")], ["a"], skip_steps=frozenset({"nothing"}))
    with pytest.raises(PlanImpossible, match="not in Production"):
        plan_of([StepInput("work", "run-script")], ["a"], only_targets=frozenset({"id-x"}))


MODES = {"deploy-package": (INSTALL, SWITCH, PREVIEW), "transfer-package": (INSTALL,), "run-script": (INSTALL,)}
PROCESS = [
    StepInput("web", "deploy-package", package="storefront", isolation="site", retries=2, timeout_s=3000),
    StepInput("copy", "transfer-package", package="storefront"),
    StepInput("check", "run-script"),
]


def test_a_way_back_sends_no_package_and_leaves_out_what_would_need_one():
    planned = plan_of(PROCESS, ["a"], mode=SWITCH, modes=MODES)
    assert [(step.name, step.mode) for step in planned.steps] == [("web", SWITCH), ("check", INSTALL)]
    assert [[ref.package for ref in planned.packages_of(step)] for step in planned.steps] == [["manyarm-runner"]] * 2
    web = planned.job(planned.steps[0].batches[0][0].id)
    assert (web.mode, web.package.version if web.package else "") == (SWITCH, "1.4.2")
    assert planned.job_json(web_id := planned.steps[0].batches[0][0].id)["mode"] == SWITCH, web_id
    assert "mode" not in planned.job_json(planned.steps[1].batches[0][0].id)
    assert planned.warnings == ("copy is left out: transfer-package cannot go back without its package",)
    assert (planned.mode, decode_plan(encode_plan(planned))) == (SWITCH, planned)
    assert planned.steps[0].prepare_s == planned.steps[1].prepare_s


def test_a_preview_asks_all_targets_at_once_once_and_leaves_out_what_changes_something():
    planned = plan_of(PROCESS, ["a", "b", "c", "d", "e"], mode=PREVIEW, modes=MODES)
    (web,) = planned.steps
    assert (web.mode, len(web.batches), web.isolation, web.retries, web.limits.wall_s) == (PREVIEW, 1, "", 0, 600)
    assert [ref.package for ref in planned.packages_of(web)] == ["manyarm-runner", "storefront"]
    assert planned.warnings == (
        "copy is left out: transfer-package does nothing in a preview",
        "check is left out: run-script does nothing in a preview",
    )


@pytest.mark.parametrize(
    ("mode", "steps", "sentence"),
    [
        (SWITCH, PROCESS[1:2], "no step of this release can go back without its package; deploy it instead"),
        (PREVIEW, PROCESS[2:], "no step of this release has anything to preview"),
    ],
)
def test_where_nothing_is_left_of_a_mode_there_is_no_plan(mode, steps, sentence):
    with pytest.raises(PlanImpossible) as refused:
        plan_of(steps, ["a"], mode=mode, modes=MODES)
    assert refused.value.detail == sentence
