"""`skip_if_installed`: the very same is left alone, anything else is deployed, and the log says why."""

import os

import pytest

from runner.contract.spool import Stream
from runner.journal import entries
from tests.runner.rig import released

SECRETS = {"ApiToken": "tok-123456789"}


@pytest.fixture
def rig(rig_in_turn):
    return rig_in_turn


def skipping(site, **more):
    return {"install_to": str(site), "skip_if_installed": True, "structured": ["settings.json"], **more}


def test_what_is_installed_already_is_left_alone_in_one_sentence(any_rig, package, site):
    told = {"properties": skipping(site), "variables": {"a": "1"}, "secrets": SECRETS}
    once = package("1.0.0", **{"PostDeploy.sh": "echo ran; touch log-of-the-application"})
    assert any_rig.deploy(**once, **told).out == "ran\n"
    run = any_rig.deploy(**once, **told)
    assert run.outcome["state"] == "succeeded", run.text()
    assert run.text() == (
        f"storefront 1.0.0 is installed already, with the same values, in {site}/releases/1.0.0: nothing is done\n"
    )
    assert run.outcome["outputs"] == [{"name": "InstallDirectory", "value": f"{site}/releases/1.0.0", "secret": False}]
    assert released(site) == ["1.0.0"]
    assert len(entries(any_rig.home)) == 1


CHANGES = {
    "another value": ({"variables": {"a": "2"}}, "variables or properties of the step have changed"),
    "another secret": ({"secrets": {"ApiToken": "tok-987654321"}}, "variables or properties of the step have changed"),
    "another property": ({"deploy": "true"}, "variables or properties of the step have changed"),
    "another root": ({"install_to": "/elsewhere"}, "has deployed nothing to"),
    "another step": ({"step": {"name": "Other", "kind": "deploy-package"}}, "has deployed nothing to"),
    "another environment": ({"environment": {"id": "9" * 32, "name": "Production"}}, "has deployed nothing to"),
    "another run": ({"variables": {"a": "1", "Manyarm.Task.Id": "x", "Manyarm.Deployment.Id": "y"}}, ""),
    "another number of releases kept": ({"keep": 3}, ""),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_another_input_is_deployed_and_the_log_says_why(rig, package, site, tmp_path, change, reason):
    told = {"variables": {"a": "1"}, "secrets": SECRETS}
    rig.deploy(**package("1.0.0"), properties=skipping(site), **told)
    names = {"deploy", "install_to", "keep"} & set(change)
    properties = skipping(site, **{name: change.pop(name) for name in names})
    properties["install_to"] = properties["install_to"].replace("/elsewhere", str(tmp_path / "elsewhere"))
    run = rig.deploy(**package("1.0.0"), properties=properties, **{**told, **change})
    assert run.outcome["state"] == "succeeded", run.text()
    assert reason in run.text(Stream.VERBOSE)
    assert ("nothing is done" in run.text()) == (reason == "")


ASKING = {
    "nobody": ({}, {}, True),
    "a file": ({"substitute_in": ["index.html"]}, {"index.html": "#{manyarm.release.number}"}, False),
    "a file that says nothing of it": ({"substitute_in": ["index.html"]}, {"index.html": "#{a}"}, True),
    "a script": ({"deploy": "get_variable Manyarm.Release.Number"}, {}, False),
    "a script, by way of a variable": ({"post_deploy": "get_variable Version"}, {}, False),
    "a configuration": ({}, {"settings.json": '{"Version": "0"}'}, False),
    "the process": ({"install_to": "#{Home}/#{Manyarm.Release.Number}"}, {}, False),
}


@pytest.mark.parametrize(("properties", "files", "is_skipped"), ASKING.values(), ids=ASKING)
def test_another_release_of_the_same_bytes_is_skipped_where_nobody_asked_for_its_number(
    rig, package, site, properties, files, is_skipped
):
    told = {"properties": {**skipping(site), "structured": [], **properties}}
    if "settings.json" in files:
        told["properties"]["structured"] = ["settings.json"]
    for number in ("7", "8"):
        variables = {
            "Manyarm.Release.Number": number,
            "Version": "#{Manyarm.Release.Number}",
            "a": "1",
            "Home": str(site),
        }
        run = rig.deploy(
            **package("1.0.0", **files), **told, variables=variables, release={"id": number, "version": number}
        )
        assert run.outcome["state"] == "succeeded", run.text()
    assert ("nothing is done" in run.text()) == is_skipped
    assert is_skipped or "has deployed nothing" in run.text() or "told the release's number, which was 7" in run.text()


def test_a_release_that_was_gone_back_to_is_what_it_was_filled_in_with(rig, package, site):
    told = {"properties": skipping(site), "variables": {"a": "1"}}
    rig.deploy(**package("1.0.0"), **told)
    rig.deploy(**package("2.0.0"), **told)
    assert rig.switch(**package("1.0.0"), **{**told, "variables": {"a": "2"}}).outcome["state"] == "succeeded"
    assert "nothing is done" in rig.deploy(**package("1.0.0"), **told).text()
    run = rig.deploy(**package("1.0.0"), **{**told, "variables": {"a": "2"}})
    assert "variables or properties of the step have changed" in run.text(Stream.VERBOSE)


TOUCHED = {
    "a changed file": ("echo more >> releases/1.0.0/version", "releases/1.0.0/version was changed since"),
    "a removed file": ("rm releases/1.0.0/version", "releases/1.0.0/version was changed since"),
    "another mode": ("chmod 600 releases/1.0.0/version", "releases/1.0.0/version was changed since"),
    "a removed release": ("rm -r releases/1.0.0", "is not there any more"),
    "another folder of its name": ("rm -r releases/1.0.0; mkdir releases/1.0.0", "is not there any more"),
    "a moved pointer": ("ln -sfn releases current", "points to something else"),
    "a removed pointer": ("rm current", "points to something else"),
    "a removed note": ("rm releases/.manyarm/*.look", "nobody wrote down how its files looked"),
    "a new file": ("touch releases/1.0.0/new", ""),
}


@pytest.mark.parametrize(("what", "reason"), TOUCHED.values(), ids=TOUCHED)
def test_an_installation_that_was_touched_is_deployed_again(rig, package, site, what, reason):
    rig.deploy(**package("1.0.0"), properties=skipping(site))
    assert os.system(f"cd {site} && {what}") == 0
    run = rig.deploy(**package("1.0.0"), properties=skipping(site))
    assert run.outcome["state"] == "succeeded", run.text()
    assert reason in run.text(Stream.VERBOSE)
    assert ("nothing is done" in run.text()) == (reason == "")


def test_other_bytes_and_a_failure_in_between_are_no_reason_to_skip(rig, package, site):
    rig.deploy(**package("1.0.0"), properties=skipping(site))
    failing = package("1.1.0", **{"Deploy.sh": "exit 1"})
    assert rig.deploy(**failing, properties=skipping(site)).outcome["state"] == "failed"
    run = rig.deploy(**package("1.0.0"), properties=skipping(site))
    assert "the last deployment (1.1.0) did not succeed" in run.text(Stream.VERBOSE)
    run = rig.deploy(**package("1.0.0", other="bytes"), properties=skipping(site))
    assert "1.0.0 is installed, whose bytes are others" in run.text(Stream.VERBOSE)


def test_the_copy_counts_where_there_is_one(rig, package, site, tmp_path):
    properties = skipping(site, copy_to=str(tmp_path / "www/copy"))
    rig.deploy(**package("1.0.0"), properties=properties)
    run = rig.deploy(**package("1.0.0"), properties=properties)
    assert run.outcome["outputs"][-1]["value"] == str(tmp_path / "www/copy")
    assert "nothing is done" in run.text()
    (tmp_path / "www/copy/version").write_text("x")
    assert "nothing is done" not in rig.deploy(**package("1.0.0"), properties=properties).text()
    assert (tmp_path / "www/copy/version").read_text() == "1.0.0"


def test_nothing_on_disk_tells_a_value(rig, package, site):
    rig.deploy(**package("1.0.0"), properties=skipping(site), variables={"a": "canary-in-a-value"}, secrets=SECRETS)
    kept = [path for path in rig.home.glob("*") if path.is_file() and path.suffix != ".zip"]
    assert {path.name for path in kept} == {"deployments.jsonl", "deployments.lock", "journal.key"}
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    found = b"".join(path.read_bytes() for path in (*kept, *(site / "releases/.manyarm").iterdir()))
    assert b"canary" not in found
    assert b"tok-123456789" not in found
    digest = entries(rig.home)[0]["variables"]
    rig.home.joinpath("journal.key").unlink()
    rig.deploy(**package("1.0.0"), properties=skipping(site), variables={"a": "canary-in-a-value"}, secrets=SECRETS)
    assert entries(rig.home)[1]["variables"] != digest
