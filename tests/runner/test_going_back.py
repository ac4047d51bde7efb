"""What lasts beyond a deployment: skipping what is installed, going back without a byte, retention, and rollbacks."""

import json
import os
import shutil

import pytest

from runner.contract.spool import Stream
from runner.journal import entries
from tests.runner.rig import make_zip

SECRETS = {"ApiToken": "tok-123456789"}


@pytest.fixture
def rig(rig_in_turn):
    return rig_in_turn


@pytest.fixture
def package(tmp_path):
    """A package by its version; the same version always has the same bytes."""

    def made(version, **more):
        files = {"version": version, "settings.json": '{"a": "0"}', **more}
        return {"package": make_zip(tmp_path / f"{version}.zip", files), "version": version}

    return made


@pytest.fixture
def site(tmp_path):
    return tmp_path / "srv/site"


def released(site):
    return sorted(path.name for path in (site / "releases").iterdir() if path.name != ".manyarm")


# Already installed


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


# Going back


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


# Retention


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
    run = rig.deploy(**package("2.0.0"), properties=properties)
    assert released(site) == ["2.0.0"]
    assert [path.name for path in (site / "releases/.manyarm").iterdir()] == ["2.0.0.look"]


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


# Rollbacks

BROKEN = {
    "open application folder": {"there": {"srv/site/releases": None}},
    "extract package": {"cut": True},
    "PreDeploy scripts, typed": {"properties": {"pre_deploy": "exit 1"}},
    "PreDeploy scripts": {"files": {"PreDeploy.sh": "exit 1"}},
    "substitute variables in files": {"files": {"a.html": "#{Nobody}"}},
    "transform XML files": {"properties": {"transforms": ["none.xml => none.config"]}},
    "replace structured values": {"files": {"settings.json": "{"}},
    "copy to directory, refused": {"properties": {"copy_to": "/srv"}},
    "copy to directory": {
        "files": {"old": "", "old/x": ""},
        "there": {"www/copy/folder/x": "1"},
        "also": {"folder": "f"},
    },
    "Deploy scripts": {"files": {"Deploy.sh": "echo mine > version; rm settings.json; exit 1"}},
    "Deploy scripts, typed": {"properties": {"deploy": "exit 1"}},
    "point current": {"files": {"PostDeploy.sh": "echo never"}, "no pointer": True},
    "PostDeploy scripts": {"files": {"PostDeploy.sh": "exit 1"}},
    "PostDeploy scripts, typed": {"properties": {"post_deploy": "echo late > new; exit 1"}},
}


def state(*folders):
    """All that a failed deployment must leave as it was."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            name = str(path)
            if "/releases/2.0.0" in name or "/.manyarm" in name:
                continue
            if path.is_symlink():
                found[name] = os.readlink(path)
            else:
                found[name] = (path.stat().st_mode, path.read_bytes() if path.is_file() else None)
    return found


@pytest.mark.parametrize("settings", [{}, {"purge": True}, {"purge": True, "purge_except": ["data/**"]}], ids=str)
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_failure_at_any_convention_leaves_the_machine_as_it_was(rig, package, site, tmp_path, settings, broken):
    copy = tmp_path / "www/copy"
    properties = {
        "install_to": str(site), "copy_to": str(copy), "substitute_in": ["*.html"], "structured": ["settings.json"],
        "deploy_failed": "echo told", **settings,
    }  # fmt: skip
    assert rig.deploy(**package("1.0.0"), properties=properties).outcome["state"] == "succeeded"
    (copy / "data").mkdir()
    (copy / "data/row").write_text("precious")
    for name, content in broken.get("there", {}).items():
        path = tmp_path / name
        if content is None:
            shutil.rmtree(path)
            path.write_text("a file")
        else:
            path.parent.mkdir(parents=True)
            path.write_text(content)
    if broken.get("no pointer"):
        (site / "current").unlink()
        (site / "current").mkdir()
    files = {"new/file": "2", "data/row": "2", **{k: v for k, v in broken.get("files", {}).items() if k != "old"}}
    two = package("2.0.0", **{**files, **({} if settings else broken.get("also", {}))})
    if broken.get("cut"):
        two["package"].write_bytes(two["package"].read_bytes()[:-30])
    before = state(site, copy)
    run = rig.deploy(**two, properties={**properties, **broken.get("properties", {})})
    if run.outcome["state"] == "succeeded":
        assert broken.get("also")
        return
    assert "told" in run.out
    assert state(site, copy) == before
    assert not (copy / ".manyarm-swap").exists()
    assert entries(rig.home)[-1]["state"] == "failed"


# The journal


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
