"""Going back and looking ahead are the same over every kind of spoke."""

import hashlib
import os
from datetime import datetime

import pytest

from tests.conformance.world import ENVIRONMENTS

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(300)]

SECRET = "the-s3cret-of-a-preview"


def asked(world, project, **more):
    return world.call("POST", "/deployments", {"project": project, "environment": ENVIRONMENTS[0], **more})


def test_a_way_back_sends_not_a_byte_of_the_package(world, kind, projects, push):
    name = f"back-{kind}"
    made = projects.of_package(kind, name)
    contents = {version: os.urandom(3_000_000) for version in ("1.0.0", "1.1.0")}
    chunks = set(world.chunks(kind))
    for version, content in contents.items():
        push(name, version, {"content.bin": content})
        projects.release(made, name, version)
        world.deploy(made, version)
    of_packages = set(world.chunks(kind)) - chunks
    assert world.forget_chunks(kind, of_packages) > 5_000_000
    shown = world.manyarm("rollback", made, "--to", ENVIRONMENTS[0], "--plan")
    assert shown.startswith(
        f"{made} back to 1.0.0 in {ENVIRONMENTS[0]}\n1. Install (deploy-package  {name} 1.0.0, switches back)"
    )
    answer = world.json("rollback", made, "--to", ENVIRONMENTS[0], "--json")
    assert answer["release"] == "1.0.0"
    world.until_succeeded(answer["task"])
    assert f"sum {hashlib.sha256(contents['1.0.0']).hexdigest()}  -" in world.printed(answer["task"])
    assert not of_packages & set(world.chunks(kind)), "bytes of the package came again"
    took = world.of_target(answer["task"])
    lasted = datetime.fromisoformat(took["ended_at"]) - datetime.fromisoformat(took["started_at"])
    print(f"switched back on {kind} in {lasted.total_seconds() * 1000:.0f} ms")


def test_a_way_back_to_what_is_gone_fails_on_that_target_and_says_so(world, kind, projects, push):
    name = f"gone-{kind}"
    made = projects.of_package(kind, name, keep=0)
    for version in ("1.0.0", "1.1.0"):
        push(name, version, {"content.bin": version.encode()})
        projects.release(made, name, version)
        world.deploy(made, version)
    done = world.run("manyarm", "rollback", made, "--to", ENVIRONMENTS[0], "--watch")
    assert done.returncode == 1
    assert f"{kind} | {name} 1.0.0 is not on this machine any more" in done.stderr
    nothing = world.run("manyarm", "rollback", made, "--to", ENVIRONMENTS[1])
    assert (nothing.returncode, "no other release of" in nothing.stderr) == (2, True)


def test_a_preview_says_what_would_change_and_leaves_everything_as_it_is(world, kind, projects, push):
    name = f"ahead-{kind}"
    made = projects.of_package(kind, name, substitute_in=["*.txt"], structured=["*.json"])
    for variable in ({"name": "Greeting", "value": "Good day"}, {"name": "Token", "value": SECRET, "secret": True}):
        world.call("POST", f"/projects/{made}/variables", variable)
    files = {"a.txt": b"#{Greeting}\n#{Token | ToBase64}\n", "b.json": b'{"Token": "none"}\n', "content.bin": b"x"}
    push(name, "1.0.0", files)
    projects.release(made, name, "1.0.0")
    answer = asked(world, made, release="1.0.0", preview=True)
    assert set(answer) == {"task"}
    found = world.until_succeeded(answer["task"])
    assert (found["kind"], [step["name"] for step in found["steps"]]) == ("preview", ["Install"])
    log = world.log(answer["task"])
    assert "-#{Greeting}\n-#{Token | ToBase64}\n+Good day\n+***" in log
    assert '-{"Token": "none"}\n+{"Token": "***"}\n' in log
    assert "2 of 3 files would change" in log
    assert SECRET not in log
    shown = world.json("deploy", made, "--release", "1.0.0", "--to", ENVIRONMENTS[0], "--plan", "--files", "--json")
    (target,) = shown["targets"]
    assert (target["target"], target["state"]) == (kind, "succeeded")
    assert [(file["path"], file["added"], file["removed"]) for file in target["files"]] == [
        ("a.txt", 2, 2),
        ("b.json", 1, 1),
    ]
    assert world.call("GET", f"/deployments?project={made}")["items"] == []
    assert not list(world.place(kind).glob(f"applications/**/{name}"))
    first = world.deploy(made)
    assert f"sum {hashlib.sha256(b'x').hexdigest()}  -" in world.printed(first)


def test_a_preview_of_a_name_that_nobody_knows_fails_the_command_and_names_the_place(world, kind, projects, push):
    name = f"unknown-{kind}"
    made = projects.of_package(kind, name, substitute_in=["*.txt"])
    push(name, "1.0.0", {"a.txt": b"one\n#{Greting}\n", "content.bin": b"x"})
    projects.release(made, name, "1.0.0")
    words = ("deploy", made, "--release", "1.0.0", "--to", ENVIRONMENTS[0], "--plan", "--files")
    done = world.run("manyarm", *words)
    assert done.returncode == 1
    assert f"# Install on {kind}\n" in done.stdout
    assert "a.txt:2" in done.stdout
