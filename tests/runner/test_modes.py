"""A job's mode chooses what its step does: deploy, switch back, preview."""

import json
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from runner.contract.errors import JobMalformed
from runner.contract.job import Job
from runner.contract.step_kind import StepKind, read_step_kinds
from runner.errors import StepFailed
from runner.pipeline import Step, run_step
from runner.steps import find_step, step_kinds
from tests.runner.rig import Rig

KIND = StepKind("probe", "Probe", "Notes what is done.", (), needs_package=False)


class Noting:
    """A convention that notes what is asked of it."""

    def __init__(self, name, notes, *, fails=False):
        self.name, self._notes, self._fails = name, notes, fails

    def install(self, deployment):
        self._notes.append(self.name)
        if self._fails:
            raise StepFailed("as told")

    def rollback(self, deployment):
        self._notes.append(f"not {self.name}")

    def finish(self, deployment, *, succeeded):
        self._notes.append(f"{self.name} {succeeded}")


def deployment(mode, said):
    channel = SimpleNamespace(event=lambda _: None, say=lambda _, text: said.append(text))
    job = SimpleNamespace(mode=mode, properties={})
    return SimpleNamespace(
        job=job, channel=channel, say=said.append, properties={}, until_the_end=ExitStack(), is_done=False
    )


def step(notes, **failing):
    def one(name):
        return Noting(name, notes, fails=name in failing)

    return Step(
        KIND,
        (one("deploy"),),
        on_failure=(one("failed"),),
        at_the_end=(one("end"),),
        switch=(one("switch"), one("after")),
        preview=(one("look"), one("show")),
    )


@pytest.mark.parametrize(
    ("mode", "done"),
    [
        ("install", ["deploy", "end True"]),
        ("switch", ["switch", "after", "end True"]),
        ("preview", ["look", "show"]),
    ],
)
def test_each_mode_has_its_own_list_and_a_preview_nothing_beside_it(mode, done):
    notes = []
    run_step(step(notes), deployment(mode, []))
    assert notes == done


def test_a_failed_switch_goes_back_and_a_failed_preview_runs_nothing_more_than_its_rollbacks():
    notes = []
    with pytest.raises(StepFailed):
        run_step(step(notes, after=True), deployment("switch", []))
    assert notes == ["switch", "after", "not after", "not switch", "failed", "end False"]
    notes.clear()
    with pytest.raises(StepFailed):
        run_step(step(notes, show=True), deployment("preview", []))
    assert notes == ["look", "show", "not show", "not look"]


def test_a_kind_says_which_modes_it_knows():
    assert step([]).kind.modes == ("install", "switch", "preview")
    assert Step(KIND, (Noting("deploy", []),)).kind.modes == ("install",)
    kinds = read_step_kinds(json.loads(json.dumps(step_kinds())))
    assert kinds["run-script"].modes == ("install",)
    assert {name: kind.modes for name, kind in kinds.items()} == {name: find_step(name).kind.modes for name in kinds}


@pytest.mark.parametrize("mode", ["switch", "preview"])
def test_a_kind_that_lacks_a_mode_does_nothing_in_it_and_says_so(any_rig, tmp_path, mode):
    run = any_rig.run(any_rig.job(properties={"script": f"touch {tmp_path}/ran"}, mode=mode))
    assert (run.outcome["state"], run.outcome["exit_code"]) == ("succeeded", None)
    assert run.text() == f"run-script does nothing in a {mode}\n"
    assert not (tmp_path / "ran").exists()


def test_a_job_says_its_mode_only_where_it_is_another_than_to_deploy(tmp_path):
    job = Rig([], tmp_path).job()
    assert Job.from_json(job).mode == "install"
    assert "mode" not in Job.from_json({**job, "mode": "install"}).to_json()
    assert Job.from_json({**job, "mode": "switch"}).to_json()["mode"] == "switch"
    for wrong in ("", "undo", 1, None):
        with pytest.raises(JobMalformed) as refusal:
            Job.from_json({**job, "mode": wrong})
        assert refusal.value.field == "mode"
