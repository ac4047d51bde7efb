"""A deployment whose worker ends itself in the middle: what was there answers still or the new release does, never a
mixture for long, and the next deployment succeeds."""

import pytest

from runner.crash import VARIABLE
from tests.crash.points import trials


def whole(site) -> str:
    """Which release `current` shows, all of it of one version."""
    version = (site / "current/version").read_text()
    assert (site / "current/settings.json").read_text() == f'{{"a": "{version}"}}'
    return version


def left_over(site) -> list[str]:
    return [path.name for path in site.iterdir() if path.name not in {"current", "releases"}]


@pytest.mark.parametrize("row", trials("deployment"))
def test_a_deployment_that_is_cut_off_there_leaves_a_release_whole_and_the_next_one_mends(
    rig, package, site, tmp_path, row
):
    copy = tmp_path / "www/copy"
    properties = {"install_to": str(site), "copy_to": str(copy)}

    def deploy(version):
        made = package(version, **{"settings.json": f'{{"a": "{version}"}}', "more/file": version})
        return rig.deploy(**made, properties=properties).outcome

    assert deploy("1.0.0")["state"] == "succeeded"
    rig.environment = {VARIABLE: row.point}
    cut = deploy("2.0.0")
    assert cut["state"] in row.ends
    assert "ended by SIGKILL" in cut["message"]
    assert whole(site) in {"1.0.0", "2.0.0"}
    rig.environment = {}
    assert deploy("3.0.0")["state"] == "succeeded"
    assert whole(site) == "3.0.0"
    assert {path.name: path.read_text() for path in copy.iterdir() if path.is_file()} == {
        "version": "3.0.0",
        "settings.json": '{"a": "3.0.0"}',
    }
    assert (copy / "more/file").read_text() == "3.0.0"
    assert left_over(site) == []
    assert not (copy / ".manyarm-swap").exists()
