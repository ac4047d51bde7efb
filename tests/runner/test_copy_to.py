"""`copy_to`: the release in a directory with a fixed name, purged where asked, and put back where anything fails."""

import json
import os

import pytest

from runner.contract.spool import Stream
from runner.journal import entries
from tests.runner.rig import make_zip

PACKAGE = {"index.html": "new", "css/site.css": "new", "Deploy.sh": "cat index.html; pwd", "docs/a/b.txt": "new"}
BEFORE = {
    "index.html": "old",
    "old.txt": "old",
    "uploads/one/picture": "old",
    "uploads/two": "old",
    "css/old.css": "old",
}
KEPT = ["uploads/**"]


@pytest.fixture
def rig(rig_in_turn):
    return rig_in_turn


def lay(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def tree(folder):
    """Every file with its content, every link with its target, every empty folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = path.read_text()
        elif not any(path.iterdir()):
            found[name] = "/"
    return found


@pytest.mark.parametrize(
    ("settings", "after"),
    [
        (
            {},
            {**BEFORE, "index.html": "new", "css/site.css": "new", "docs/a/b.txt": "new"},
        ),
        (
            {"purge": True},
            {"index.html": "new", "css/site.css": "new", "docs/a/b.txt": "new"},
        ),
        (
            {"purge": True, "purge_except": ["uploads/**"]},
            {
                "index.html": "new", "css/site.css": "new", "docs/a/b.txt": "new",
                "uploads/one/picture": "old", "uploads/two": "old",
            },
        ),
        (
            {"purge": True, "purge_except": ["uploads/*/*", "**/old.css"]},
            {
                "index.html": "new", "css/site.css": "new", "docs/a/b.txt": "new",
                "uploads/one/picture": "old", "css/old.css": "old",
            },
        ),
        (
            {"purge": True, "purge_except": ["index.html", "uploads"]},
            {
                "index.html": "new", "css/site.css": "new", "docs/a/b.txt": "new",
                "uploads/one/picture": "old", "uploads/two": "old",
            },
        ),
    ],
    ids=["merged", "purged", "except a folder", "except globs", "what the package has is never kept"],
)  # fmt: skip
def test_the_release_is_copied_and_the_rest_purged_as_asked(any_rig, tmp_path, settings, after):
    site = lay(tmp_path / "www/site", BEFORE)
    run = any_rig.deploy(make_zip(tmp_path / "p.zip", PACKAGE), {"copy_to": str(site), **settings})
    assert run.outcome["state"] == "succeeded", run.text()
    assert tree(site) == after
    assert run.out == f"new{site}\n"
    outputs = {output["name"]: output["value"] for output in run.outcome["outputs"]}
    assert outputs["InstallDirectory"] == str(site)
    (entry,) = entries(any_rig.home)
    assert (entry["copied_to"], entry["state"]) == (str(site), "succeeded")


def test_a_directory_that_is_missing_is_made_and_goes_again_where_the_deployment_fails(rig, tmp_path):
    site = tmp_path / "a/b/site"
    good, bad = ({**PACKAGE, "PostDeploy.sh": f"exit {code}"} for code in (0, 3))
    run = rig.deploy(make_zip(tmp_path / "p.zip", bad), {"copy_to": str(site)})
    assert run.outcome["exit_code"] == 3, run.text()
    assert not (tmp_path / "a").exists()
    assert rig.deploy(make_zip(tmp_path / "p.zip", good), {"copy_to": str(site)}).outcome["state"] == "succeeded"
    assert (site / "index.html").read_text() == "new"


def test_files_keep_their_mode_and_links_are_copied_as_links(rig, tmp_path):
    site = tmp_path / "www/site"
    package = {
        "run": "#!/bin/sh\n",
        "PreDeploy.sh": "chmod 755 run; ln -s run link; ln -s /etc/passwd far; mkdir empty",
    }
    run = rig.deploy(make_zip(tmp_path / "p.zip", package), {"copy_to": str(site)})
    assert run.outcome["state"] == "succeeded", run.text()
    assert tree(site) == {"run": "#!/bin/sh\n", "link": "-> run", "far": "-> /etc/passwd", "empty": "/"}
    assert os.access(site / "run", os.X_OK)


@pytest.mark.parametrize(
    ("there", "package", "settings", "sentence"),
    [
        ({"uploads": "-> elsewhere"}, {"uploads/x": ""}, {}, "uploads is a symbolic link"),
        ({"uploads": "-> elsewhere"}, {"uploads/x": ""}, {"purge": True, "purge_except": ["uploads"]}, "symbolic link"),
        ({"a": "file"}, {"a/x": ""}, {}, "a is a file, and the package has a folder"),
        ({"a/x": "file"}, {"a": ""}, {}, "a is a folder, and the package has a file"),
        ({"a/x": "file"}, {"a": ""}, {"purge": True, "purge_except": ["a/x"]}, "a is a folder"),
    ],
)
def test_what_stands_in_the_way_is_named_and_nothing_changes(rig, tmp_path, there, package, settings, sentence):
    elsewhere, site = tmp_path / "elsewhere", tmp_path / "www/site"
    elsewhere.mkdir()
    site.mkdir(parents=True)
    lay(site, {name: content for name, content in there.items() if not content.startswith("->")})
    for name in (name for name, content in there.items() if content.startswith("->")):
        (site / name).symlink_to(elsewhere)
    before = tree(site)
    run = rig.deploy(make_zip(tmp_path / "p.zip", {**package, "z": "z"}), {"copy_to": str(site), **settings})
    assert run.outcome["state"] == "failed"
    assert sentence in run.outcome["message"], run.outcome
    assert tree(site) == before
    assert list(elsewhere.iterdir()) == []


def test_a_link_is_purged_or_replaced_itself_and_never_followed(rig, tmp_path):
    elsewhere, site = lay(tmp_path / "elsewhere", {"precious": "1"}), lay(tmp_path / "www/site", {"b": "b"})
    (site / "data").symlink_to(elsewhere)
    (site / "index.html").symlink_to(elsewhere / "precious")
    run = rig.deploy(make_zip(tmp_path / "p.zip", {"index.html": "new"}), {"copy_to": str(site), "purge": True})
    assert run.outcome["state"] == "succeeded", run.text()
    assert (tree(site), tree(elsewhere)) == ({"index.html": "new"}, {"precious": "1"})


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "of the system"), ("/srv", "of the system"), ("/usr/local/bin", "of the system"), ("www", "absolute path"),
        ("/srv/../etc/x", "absolute path"), ("/home/somebody", "somebody's home"), ("HOME", "is or holds the home of"),
        ("HOME/..", "absolute path"), ("UP", "is or holds"), ("HOME/site", "is or holds the folder of the releases"),
        ("HOME/site/releases", "is or holds the folder of the releases"), ("HOME/site/releases/x", "where releases lie"),
        ("HOME/site/current", "where releases lie"), ("HOME/link", "is or holds the folder of the releases"),
        ("HOME/file/x", "Not a directory"), ("HOME/file", "is no directory"),
    ],
)  # fmt: skip
def test_a_directory_that_is_not_the_steps_own_is_refused(rig, tmp_path, path, words):
    install_to = tmp_path / "site"
    rig.deploy(make_zip(tmp_path / "p.zip", {"a": "a"}), {"install_to": str(install_to)})
    (tmp_path / "link").symlink_to(install_to)
    (tmp_path / "file").touch()
    properties = {"install_to": str(install_to), "purge": True}
    properties["copy_to"] = path.replace("HOME", str(tmp_path)).replace("UP", str(tmp_path.parent))
    run = rig.deploy(make_zip(tmp_path / "p.zip", {"a": "a"}), properties)
    assert run.outcome["state"] == "failed"
    assert words in run.outcome["message"], run.outcome["message"]
    assert (install_to / "current").readlink().name == "1.0.0"


def test_purge_without_copy_to_is_told(rig, tmp_path):
    run = rig.deploy(make_zip(tmp_path / "p.zip", {"a": "a"}), {"purge": True})
    assert "do nothing without copy_to" in run.text(Stream.WARNING)


def broken(stage):
    return {**PACKAGE, f"{stage}.sh": "kill -9 $(cut -d' ' -f4 /proc/$$/stat); sleep 60"}


@pytest.mark.parametrize("settings", [{}, {"purge": True}, {"purge": True, "purge_except": KEPT}])
def test_what_a_killed_job_left_is_put_back_by_the_next(rig, tmp_path, settings):
    site = lay(tmp_path / "www/site", BEFORE)
    properties = {"copy_to": str(site), **settings}
    run = rig.deploy(make_zip(tmp_path / "p.zip", broken("PostDeploy")), properties)
    assert "was ended by SIGKILL" in run.outcome["message"]
    assert tree(site) != BEFORE
    run = rig.deploy(make_zip(tmp_path / "p.zip", {**PACKAGE, "Deploy.sh": "exit 7"}), properties)
    assert run.outcome["exit_code"] == 7
    assert "was ended while it deployed to" in run.text(Stream.WARNING)
    assert tree(site) == BEFORE
    run = rig.deploy(make_zip(tmp_path / "p.zip", PACKAGE), properties)
    assert (site / "index.html").read_text() == "new"
    assert not (site / ".manyarm-swap").exists()


def test_a_plan_that_was_carried_out_to_any_point_is_undone_from_there(rig, tmp_path):
    """As if the power had gone after each single move."""
    site = lay(tmp_path / "www/site", BEFORE)
    properties = {"copy_to": str(site), "purge": True, "purge_except": KEPT}
    rig.deploy(make_zip(tmp_path / "p.zip", broken("Deploy")), properties)
    staging = site / ".manyarm-swap"
    moves = json.loads((staging / "plan.json").read_text())["moves"]
    assert {action for action, _ in moves} == {"put", "away", "replace"}
    for undone in range(len(moves) + 1):
        for action, name in reversed(moves[len(moves) - undone :]):
            here, new, old = site / name, staging / "new" / name, staging / "old" / name
            if action != "away" and not new.exists():
                here.rename(new)
            if action != "put" and old.exists():
                old.rename(here)
        after = tmp_path / f"www/after-{undone}"
        os.system(f"cp -a {site} {after}")
        run = rig.deploy(
            make_zip(tmp_path / "p.zip", {**PACKAGE, "Deploy.sh": "exit 7"}), {**properties, "copy_to": str(after)}
        )
        assert run.outcome["exit_code"] == 7
        assert tree(after) == BEFORE, undone


PLAN = {"job": "x", "moves": [["put", "index.html"], ["away", "../../precious"]]}


@pytest.mark.parametrize("how", ["of another user", "open to others", "a link", "a file"])
def test_a_plan_that_the_runner_did_not_write_is_not_followed(rig, tmp_path, how):
    site, precious = lay(tmp_path / "www/site", BEFORE), tmp_path / "precious"
    staging = site / ".manyarm-swap"
    if how == "a file":
        staging.write_text("x")
    else:
        made = tmp_path / "made" if how == "a link" else staging
        lay(made, {"plan.json": json.dumps(PLAN), "old/precious": "evil"})
        (made / "old/x").mkdir()
        made.chmod(0o755 if how == "open to others" else 0o700)
        if how == "of another user":
            if os.geteuid():
                pytest.skip("only root can give a folder to somebody")
            os.chown(staging, 65534, 65534)
        if how == "a link":
            staging.symlink_to(made)
    before = tree(site)
    run = rig.deploy(make_zip(tmp_path / "p.zip", PACKAGE), {"copy_to": str(site)})
    assert run.outcome["state"] == "failed"
    assert "is not the runner's own folder" in run.outcome["message"]
    assert tree(site) == before
    assert not precious.exists()


def test_nothing_is_put_back_through_a_link_that_came_meanwhile(rig, tmp_path):
    site, elsewhere = lay(tmp_path / "www/site", BEFORE), lay(tmp_path / "elsewhere", {"site.css": "precious"})
    rig.deploy(make_zip(tmp_path / "p.zip", broken("PostDeploy")), {"copy_to": str(site)})
    (site / "css").rename(tmp_path / "css")
    (site / "css").symlink_to(elsewhere)
    run = rig.deploy(make_zip(tmp_path / "p.zip", PACKAGE), {"copy_to": str(site)})
    assert run.outcome["state"] == "failed"
    assert "css/site.css cannot be put back" in run.outcome["message"]
    assert tree(elsewhere) == {"site.css": "precious"}


def test_two_jobs_do_not_deploy_to_one_directory_at_once(rig, tmp_path):
    site = tmp_path / "www/site"
    slow = {
        **PACKAGE,
        "PostDeploy.sh": f"echo ready; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; cat index.html",
    }
    first = rig.start_deploy(
        make_zip(tmp_path / "p.zip", slow), {"copy_to": str(site), "install_to": str(tmp_path / "one")}
    )
    first.until("ready")
    second = rig.start_deploy(
        make_zip(tmp_path / "q.zip", {"index.html": "second"}),
        {"copy_to": str(site), "install_to": str(tmp_path / "two")},
    )
    second.until(f"waiting for another job that deploys to {site}")
    (tmp_path / "go").touch()
    first.wait()
    second.wait()
    assert first.out.endswith("ready\nnew")
    assert (site / "index.html").read_text() == "second"


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_job_that_is_ended_in_time_puts_everything_back_itself(rig, tmp_path, how):
    site = lay(tmp_path / "www/site", BEFORE)
    properties = {"copy_to": str(site), "purge": True, "install_to": str(tmp_path / "app")}
    assert rig.deploy(make_zip(tmp_path / "p.zip", {"first": "1"}), properties).outcome["state"] == "succeeded"
    slow = {**PACKAGE, "PostDeploy.sh": "echo ready; sleep 60", "DeployFailed.sh": "echo not in a cancel"}
    run = rig.start_deploy(
        make_zip(tmp_path / "q.zip", slow), properties, version="2.0.0", limits={"wall_s": 60 if how == "cancel" else 3}
    )
    run.until("ready")
    assert os.readlink(tmp_path / "app/current") == "releases/2.0.0"
    if how == "cancel":
        (run.folder / "cancel").write_text("{}")
    run.wait()
    assert run.outcome["state"] == {"cancel": "cancelled", "deadline": "timed-out"}[how]
    assert tree(site) == {"first": "1"}
    assert os.readlink(tmp_path / "app/current") == "releases/1.0.0"
    assert "not in a cancel" not in run.out
    assert [entry["state"] for entry in entries(rig.home)] == ["succeeded", "failed"]
