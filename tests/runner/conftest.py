"""The built runner under every interpreter that this machine has, unpacked as a spoke has it or as one archive."""

import sys
import zipfile
from pathlib import Path
from zlib import crc32

import pytest

from runner.build import build
from tests.runner.rig import Rig, make_zip

OTHERS = {
    path: "archive" if minor in (9, 13) else "folder"
    for minor in (9, 10, 11, 12, 13, 14)
    for path in sorted((Path.home() / ".pyenv/versions").glob(f"3.{minor}.*/bin/python3"))[-1:]
    if minor != sys.version_info.minor
}
FORMS = [(Path(sys.executable), "folder"), *OTHERS.items()]


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built") / "runner.pyz")


@pytest.fixture(scope="session")
def unpacked(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(built.path) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def rig(unpacked, tmp_path):
    """The runner as a spoke uses it: unpacked, under this interpreter."""
    return Rig([sys.executable, "-I", "-S", "-B", str(unpacked)], tmp_path)


@pytest.fixture(params=FORMS, ids=lambda p: f"{p[0].parents[1].name}-{p[1]}")
def any_rig(request, built, unpacked, tmp_path):
    """The same under each interpreter."""
    return _rig(*request.param, built, unpacked, tmp_path)


@pytest.fixture
def rig_in_turn(request, built, unpacked, tmp_path):
    """The same under one interpreter, always the same for a case: for tables, whose cases go through all of them."""
    return _rig(*FORMS[crc32(request.node.name.encode()) % len(FORMS)], built, unpacked, tmp_path)


def _rig(python, form, built, unpacked, tmp_path):
    return Rig([str(python), "-I", "-S", "-B", str(unpacked if form == "folder" else built.path)], tmp_path)


@pytest.fixture
def package(tmp_path):
    """A package by its version, as `deploy` and `switch` take it; the same version always has the same bytes."""

    def made(version, **more):
        files = {"version": version, "settings.json": '{"a": "0"}', **more}
        return {"package": make_zip(tmp_path / f"{version}.zip", files), "version": version}

    return made


@pytest.fixture
def site(tmp_path):
    """Where `install_to` may point to."""
    return tmp_path / "srv/site"
