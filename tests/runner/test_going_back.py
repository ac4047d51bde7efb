"""Going back to a release that is still there: no byte travels, and what is gone is said."""

import json
import os
import shutil

import pytest

from runner.journal import entries
from tests.runner.rig import released


@pytest.fixture
def rig(rig_in_turn):
    return rig_in_turn


def test_going_back_moves_no_byte_and_runs_post_deploy(any_rig, package, site):
    properties = {"install_to": str(site), "post_deploy": "readlink ../../current"}
    old = package(
        "1.0.0", **{"PreDeploy.sh": "echo pre", "Deploy.sh": "echo deploy", "PostDeploy.sh": "cat version; echo"}
    )
    any_rig.deploy(**old, properties=properties)
    any_rig.deploy(**package("2.0.0"), properties=properties)
    old["package"].rename(f"{old['package']}.moved")
    shutil.copy(f"{old['package']}.moved", old["package"])
    run = any_rig.switch(**old, properties=properties)
    assert run.outcome["state"] == "succeeded", run.text()
    assert run.out == "1.0.0\nreleases/1.0.0\n"
    assert os.readlink(site / "current") == "releases/1.0.0"
    assert run.outcome["outputs"] == [{"name": "InstallDirectory", "value": f"{site}/releases/1.0.0", "secret": False}]
    assert released(site) == ["1.0.0", "2.0.0"]
    newest = entries(any_rig.home)[-1]
    assert (newest["mode"], newest["state"], newest["path"]) == ("switch", "succeeded", f"{site}/releases/1.0.0")
    assert newest["current_before"] == "releases/2.0.0"


def test_a_switch_copies_the_earlier_release_where_the_step_has_a_copy(rig, package, site, tmp_path):
    properties = {"install_to": str(site), "copy_to": str(tmp_path / "www/copy"), "purge": True}
    rig.deploy(**package("1.0.0", only="in 1"), properties=properties)
    rig.deploy(**package("2.0.0"), properties=properties)
    assert rig.switch(**package("1.0.0", only="in 1"), properties=properties).outcome["state"] == "succeeded"
    copy = tmp_path / "www/copy"
    assert {path.name for path in copy.iterdir()} == {"version", "settings.json", "only"}
    assert (copy / "version").read_text() == "1.0.0"


def test_a_switch_that_fails_goes_back_and_runs_deploy_failed(rig, package, site, tmp_path):
    properties = {"install_to": str(site), "copy_to": str(tmp_path / "www/copy")}
    old = package("1.0.0", **{"PostDeploy.sh": f"test ! -e {tmp_path}/broken"})
    rig.deploy(**old, properties=properties)
    rig.deploy(**package("2.0.0"), properties=properties)
    (tmp_path / "broken").touch()
    run = rig.switch(**old, properties={**properties, "deploy_failed": "echo failing"})
    assert (run.outcome["exit_code"], run.out) == (1, "failing\n")
    assert os.readlink(site / "current") == "releases/2.0.0"
    assert (tmp_path / "www/copy/version").read_text() == "2.0.0"
    assert entries(rig.home)[-1]["state"] == "failed"


GONE = {
    "never": ("", "storefront 3.0.0 was never deployed to this machine by this step; deploy it instead"),
    "failed": ("3.0.0", "storefront 3.0.0 was never deployed to this machine by this step; deploy it instead"),
    "removed": ("rm -r releases/1.0.0", "is not on this machine any more (retention keeps 5 earlier releases)"),
    "renamed": ("mv releases/1.0.0 releases/mine", "storefront 1.0.0 is not on this machine any more"),
    "another folder of its name": ("rm -r releases/1.0.0; mkdir releases/1.0.0", "is not on this machine any more"),
    "a link": ("mv releases/1.0.0 ..; ln -s ../../1.0.0 releases", "is not on this machine any more"),
    "no place": ("rm -r releases", "so there is nothing to go back to"),
}


@pytest.mark.parametrize(("what", "sentence"), GONE.values(), ids=GONE)
def test_what_is_gone_is_said_with_what_to_do_and_nothing_changes(rig, package, site, what, sentence):
    properties = {"install_to": str(site)}
    for version in ("1.0.0", "2.0.0"):
        rig.deploy(**package(version), properties=properties)
    wanted = package("1.0.0") if "1.0.0" in what or what == "rm -r releases" else package("3.0.0")
    if what == "3.0.0":
        rig.deploy(**package("3.0.0"), properties={**properties, "deploy": "exit 1"})
    elif what:
        assert os.system(f"cd {site} && {what}") == 0
    before = sorted(str(path) for path in site.rglob("*"))
    run = rig.switch(**wanted, properties=properties)
    assert run.outcome["state"] == "failed"
    assert sentence in run.outcome["message"]
    assert sorted(str(path) for path in site.rglob("*")) == before
    assert os.readlink(site / "current") == "releases/2.0.0"


def test_the_same_package_of_another_step_or_place_is_none_to_go_back_to(rig, package, site):
    rig.deploy(**package("1.0.0"), properties={"install_to": str(site)})
    for more in (
        {"step": {"name": "Other", "kind": "deploy-package"}},
        {"tenant": "one"},
        {"target": {"id": "8", "name": "x"}},
    ):
        assert (
            "was never deployed"
            in rig.switch(**package("1.0.0"), properties={"install_to": str(site)}, **more).outcome["message"]
        )


def test_of_two_releases_with_one_package_that_one_comes_back_whose_values_it_has(rig, package, site):
    properties = {"install_to": str(site), "structured": ["settings.json"]}
    for release, value in (("1.0.0", "first"), ("1.0.1", "second")):
        more = {"release": {"id": release, "version": release}, "variables": {"a": value}}
        assert rig.deploy(**package("1.0.0"), properties=properties, **more).outcome["state"] == "succeeded"
    for release, value in (("1.0.0", "first"), ("1.0.1", "second"), ("1.0.0", "first")):
        more = {"release": {"id": release, "version": release}}
        assert rig.switch(**package("1.0.0"), properties=properties, **more).outcome["state"] == "succeeded"
        assert json.loads((site / "current/settings.json").read_text()) == {"a": value}


def test_entries_say_what_was_deployed_where(rig, package, site):
    rig.deploy(**package("1.0.0"), properties={"install_to": str(site)})
    (entry,) = entries(rig.home)
    assert sorted(entry) == sorted(
        [
            "asked_for_release",
            "at",
            "copied_to",
            "current_before",
            "environment",
            "environment_id",
            "job",
            "made_by",
            "mode",
            "package",
            "path",
            "project",
            "project_id",
            "release",
            "root",
            "sha256",
            "state",
            "step",
            "succeeded",
            "target_id",
            "task",
            "tenant",
            "variables",
            "version",
        ]
    )
    lines = (rig.home / "deployments.jsonl").read_text().splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["begun", "succeeded"]
