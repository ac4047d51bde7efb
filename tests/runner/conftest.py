"""The built runner, unpacked and as an archive, under every interpreter that this machine has."""

import sys
import zipfile
from pathlib import Path

import pytest

from runner.build import build
from tests.runner.rig import Rig

OTHERS = [path for v in ("3.9.18", "3.13.0") if (path := Path.home() / f".pyenv/versions/{v}/bin/python3").exists()]
FORMS = [(Path(sys.executable), "folder"), *((python, form) for python in OTHERS for form in ("folder", "archive"))]


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
    """The same under each interpreter, and once more as an archive."""
    python, form = request.param
    return Rig([str(python), "-I", "-S", "-B", str(unpacked if form == "folder" else built.path)], tmp_path)
