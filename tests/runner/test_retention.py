"""Retention: the current release and so many earlier ones stay, and what the runner did not make."""

import json
import os

import pytest

from runner.contract.spool import Stream
from runner.journal import entries
from tests.runner.rig import released


@pytest.fixture
def rig(rig_in_turn):
    return rig_in_turn


@pytest.mark.parametrize(
    ("keep", "story", "left"),
    [
        (2, "1 2 3 4", "2 3 4"),
        (0, "1 2 3", "3"),
        (-1, "1 2 3 4", "1 2 3 4"),
        (1, "1 2 -3 4 5", "4 5"),
        (1, "1 -2 -3", "1 2 3"),
        (1, "-1 -2 3", "3"),
        (1, "1 -2 3 -4 5", "3 4 5"),
        (2, "1 2 3 <1 4", "1 3 4"),
        (1, "1 2 <1 3 4", "3 4"),
        (1, "1 2 3 <2 4", "2 4"),
    ],
)
def test_the_current_release_and_so_many_earlier_ones_are_kept(rig, package, site, keep, story, left):
    """A story: `3` is deployed, `-3` fails, `<3` is gone back to."""
    for word in story.split():
        number = word.strip("<-")
        properties = {"install_to": str(site), "keep": keep, "deploy": "exit 1" if word.startswith("-") else ""}
        act = rig.switch if word.startswith("<") else rig.deploy
        run = act(**package(f"{number}.0.0"), properties=properties)
        assert (run.outcome["state"] == "failed") == word.startswith("-"), run.text()
    assert released(site) == [f"{number}.0.0" for number in left.split()]
    looks = {path.name.removesuffix(".look") for path in (site / "releases/.manyarm").iterdir()}
    assert looks <= set(released(site))


@pytest.mark.parametrize("install_to", [True, False])
def test_retention_on_every_python(any_rig, package, site, install_to):
    properties = {"keep": 1, **({"install_to": str(site)} if install_to else {})}
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        run = any_rig.deploy(**package(version), properties=properties)
    assert "removed 1.0.0: 1 earlier releases are kept" in run.text(Stream.INFO)
    folder = site / "releases" if install_to else any_rig.home / "applications/Production/storefront"
    assert {path.name for path in folder.iterdir()} - {"current", ".manyarm"} == {"2.0.0", "3.0.0"}


def test_going_back_removes_nothing(rig, package, site):
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        rig.deploy(**package(version), properties={"install_to": str(site)})
    run = rig.switch(**package("2.0.0"), properties={"install_to": str(site), "keep": 0})
    assert run.outcome["state"] == "succeeded", run.text()
    assert released(site) == ["1.0.0", "2.0.0", "3.0.0"]


SPARED = {
    "made by a person": "mkdir releases/0.9.0; echo mine > releases/0.9.0/file",
    "renamed": "mv releases/1.0.0 releases/0.9.0",
    "a link": "mv releases/1.0.0 ../moved; ln -s ../../moved releases/0.9.0",
    "a copy": "cp -a releases/1.0.0 releases/0.9.0",
}


@pytest.mark.parametrize("what", SPARED.values(), ids=SPARED)
def test_what_the_runner_did_not_make_is_never_removed(rig, package, site, what):
    properties = {"install_to": str(site), "keep": 0}
    rig.deploy(**package("1.0.0"), properties=properties)
    assert os.system(f"cd {site} && {what}") == 0
    before = sorted((site / "releases/0.9.0").iterdir())
    rig.deploy(**package("2.0.0"), properties=properties)
    assert released(site) == ["0.9.0", "2.0.0"]
    assert sorted((site / "releases/0.9.0").iterdir()) == before


def test_a_link_inside_a_release_is_removed_and_not_followed(rig, package, site, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    properties = {"install_to": str(site), "keep": 0, "deploy": f"ln -s {tmp_path}/precious link"}
    for version in ("1.0.0", "2.0.0"):
        rig.deploy(**package(version), properties=properties)
    assert released(site) == ["2.0.0"]
    assert (tmp_path / "precious/file").exists()


def test_what_current_points_to_stays_whoever_moved_it(rig, package, site):
    properties = {"install_to": str(site), "keep": 0}
    rig.deploy(**package("1.0.0"), properties=properties)
    run = rig.deploy(
        **package("2.0.0"), properties={**properties, "post_deploy": "ln -sfn releases/1.0.0 ../../current"}
    )
    assert run.outcome["state"] == "succeeded"
    assert released(site) == ["1.0.0", "2.0.0"]


def test_another_steps_releases_in_the_same_folder_are_its_own(rig, package, site):
    properties = {"install_to": str(site), "keep": 0}
    other = {"step": {"name": "Other", "kind": "deploy-package"}}
    rig.deploy(**package("1.0.0"), properties=properties, **other)
    rig.deploy(**package("2.0.0"), properties=properties)
    rig.deploy(**package("3.0.0"), properties=properties)
    assert released(site) == ["1.0.0", "3.0.0"]
    rig.deploy(**package("4.0.0"), properties=properties, **other)
    assert released(site) == ["3.0.0", "4.0.0"]


def test_a_journal_of_before_is_no_hindrance_and_its_releases_are_left_alone(rig, package, site):
    old = {"at": 1, "job": "0" * 32, "release": "0.9.0", "environment": "Production", "tenant": "", "step": "Deploy web",
           "package": "storefront", "version": "0.9.0", "path": str(site / "releases/0.9.0"), "succeeded": True}  # fmt: skip
    (site / "releases/0.9.0").mkdir(parents=True)
    (rig.home / "deployments.jsonl").write_text(json.dumps(old) + "\n")
    properties = {"install_to": str(site), "keep": 0, "skip_if_installed": True}
    for version in ("1.0.0", "2.0.0"):
        assert rig.deploy(**package(version), properties=properties).outcome["state"] == "succeeded"
    assert released(site) == ["0.9.0", "2.0.0"]
    assert entries(rig.home)[0] == old
    assert "was never deployed" in rig.switch(**package("0.9.0"), properties=properties).outcome["message"]


def test_what_killed_jobs_left_is_cleared(rig, package, site):
    properties = {"install_to": str(site), "keep": 0}
    killing = "kill -9 $(cut -d' ' -f4 /proc/$$/stat); sleep 60"
    run = rig.deploy(**package("1.0.0"), properties={**properties, "deploy": killing})
    assert "was ended by SIGKILL" in run.outcome["message"]
    (entry,) = entries(rig.home)
    assert (entry["state"], entry["succeeded"]) == ("begun", False)
    half = site / "releases/.manyarm/new-0123456789abcdef"
    half.mkdir()
    (half / "file").touch()
    (site / ".current.0123456789abcdef").symlink_to("releases/1.0.0")
    (site / ".current.mine").touch()
    run = rig.deploy(**package("2.0.0"), properties=properties)
    assert released(site) == ["2.0.0"]
    assert [path.name for path in (site / "releases/.manyarm").iterdir()] == ["2.0.0.look"]
    assert sorted(path.name for path in site.iterdir()) == [".current.mine", "current", "releases"]


def test_a_release_that_cannot_be_removed_is_told_and_tried_again(rig, package, site):
    if os.geteuid() == 0:
        rig.command[:0] = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    properties = {"install_to": str(site), "keep": 0}
    rig.deploy(**package("1.0.0"), properties={**properties, "deploy": "mkdir fast; touch fast/x; chmod 500 fast"})
    run = rig.deploy(**package("2.0.0"), properties=properties)
    assert run.outcome["state"] == "succeeded"
    assert "the next deployment tries again" in run.text(Stream.WARNING)
    (gone,) = site.glob("releases/.manyarm/gone-*")
    (gone / "fast").chmod(0o700)
    rig.deploy(**package("3.0.0"), properties=properties)
    assert list(site.glob("releases/.manyarm/gone-*")) == []


def test_a_release_that_a_running_job_holds_is_waited_for(rig, package, site, tmp_path):
    properties = {"install_to": str(site), "keep": 0}
    rig.deploy(**package("1.0.0"), properties=properties)
    rig.deploy(**package("2.0.0"), properties={**properties, "keep": 5})
    wait = f"echo ready; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; ls ../../releases"
    going_back = rig.start_deploy(**package("1.0.0"), properties={**properties, "post_deploy": wait}, mode="switch")
    going_back.until("ready")
    third = rig.start_deploy(**package("3.0.0"), properties=properties)
    third.until(f"waiting for another job that deploys to {site}")
    (tmp_path / "go").touch()
    going_back.wait()
    third.wait()
    assert going_back.out == "ready\n1.0.0\n2.0.0\n"
    assert released(site) == ["3.0.0"]


def test_jobs_that_deploy_to_one_folder_at_once_take_their_turns(rig, package, site):
    properties = {
        "install_to": str(site),
        "keep": 1,
        "post_deploy": 'test "$(readlink ../../current)" = "releases/$(basename "$PWD")"',
    }
    runs = [rig.start_deploy(**package(f"{number}.0.0"), properties=properties) for number in range(5)]
    for run in runs:
        run.wait()
    assert [run.outcome["state"] for run in runs] == ["succeeded"] * 5
    order = [entry["version"] for entry in entries(rig.home)]
    assert sorted(order) == [f"{number}.0.0" for number in range(5)]
    assert released(site) == sorted(order[-2:])
    assert (site / "current").readlink().name == order[-1]
