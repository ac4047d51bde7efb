"""A deployment that fails at any convention leaves the machine as it was."""

import os
import shutil

import pytest

from runner.journal import entries


@pytest.fixture
def rig(rig_in_turn):
    return rig_in_turn


PURGES = {"merged": {}, "purged": {"purge": True}, "except": {"purge": True, "purge_except": ["data/**"]}}
# By the convention at which the second deployment fails: what its package has, what its step says, what stood there.
BROKEN = {
    "open application folder": {"there": {"srv/site/releases": "a file"}},
    "extract package": {"cut": True},
    "PreDeploy scripts, typed": {"properties": {"pre_deploy": "exit 1"}},
    "PreDeploy scripts": {"files": {"PreDeploy.sh": "exit 1"}},
    "substitute variables in files": {"files": {"a.html": "#{Nobody}"}},
    "transform XML files": {"properties": {"transforms": ["none.xml => none.config"]}},
    "replace structured values": {"files": {"settings.json": "{"}},
    "copy to directory, refused": {"properties": {"copy_to": "/srv"}},
    "copy to directory": {"there": {"www/copy/folder/x": "1"}, "files": {"folder": "a file"}, "only": "merged"},
    "Deploy scripts": {"files": {"Deploy.sh": "echo mine > version; rm settings.json; exit 1"}},
    "Deploy scripts, typed": {"properties": {"deploy": "exit 1"}},
    "point current": {"there": {"srv/site/current/x": "1"}},
    "PostDeploy scripts": {"files": {"PostDeploy.sh": "exit 1"}},
    "PostDeploy scripts, typed": {"properties": {"post_deploy": "echo late > version; exit 1"}},
}
CASES = {
    f"{name} ({how})": (broken, purge)
    for name, broken in BROKEN.items()
    for how, purge in PURGES.items()
    if broken.get("only", how) == how
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


def put(path, content):
    """A file in the place of whatever stands there."""
    for there in (path, *path.parents):
        if there.is_symlink() or there.is_file():
            there.unlink()
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.mark.parametrize(("broken", "purge"), CASES.values(), ids=CASES)
def test_a_failure_at_any_convention_leaves_the_machine_as_it_was(rig, package, site, tmp_path, broken, purge):
    copy = tmp_path / "www/copy"
    properties = {
        "install_to": str(site), "copy_to": str(copy), "substitute_in": ["*.html"], "structured": ["settings.json"],
        "deploy_failed": "echo told", **purge,
    }  # fmt: skip
    assert rig.deploy(**package("1.0.0"), properties=properties).outcome["state"] == "succeeded"
    for name, content in {"www/copy/data/row": "precious", **broken.get("there", {})}.items():
        put(tmp_path / name, content)
    two = package("2.0.0", **{"new/file": "2", "data/row": "2", **broken.get("files", {})})
    if broken.get("cut"):
        two["package"].write_bytes(two["package"].read_bytes()[:-30])
    before = state(site, copy)
    run = rig.deploy(**two, properties={**properties, **broken.get("properties", {})})
    assert (run.outcome["state"], run.out) == ("failed", "told\n")
    assert state(site, copy) == before
    assert not (copy / ".manyarm-swap").exists()
    assert entries(rig.home)[-1]["state"] == "failed"


def test_deploy_failed_scripts_run_when_all_is_put_back_the_packages_first(any_rig, package, site, tmp_path):
    properties = {"install_to": str(site), "copy_to": str(tmp_path / "www/copy")}
    told = 'echo "{}: $(readlink ../../current) $(cat {}/version) $(basename "$PWD")"\n'
    any_rig.deploy(**package("1.0.0"), properties=properties)
    copy = properties["copy_to"]
    bad = package("2.0.0", **{"PostDeploy.sh": "pwd; exit 3", "DeployFailed.sh": told.format("packaged", copy)})
    run = any_rig.deploy(**bad, properties={**properties, "deploy_failed": told.format("typed", copy) + "exit 4"})
    assert run.out.splitlines() == [
        copy,
        "packaged: releases/1.0.0 1.0.0 2.0.0",
        "typed: releases/1.0.0 1.0.0 2.0.0",
    ]
    assert run.outcome["exit_code"] == 3
    assert "DeployFailed scripts failed too: script DeployFailed ended with exit code 4" in run.text()
