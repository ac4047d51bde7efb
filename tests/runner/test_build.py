"""The built runner: the same bytes every time, nothing in it that is not ours, started quickly."""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import runner.build
from runner.build import BundleDiffers, _bundled, build


def test_two_builds_give_the_same_bytes(tmp_path):
    first = build(tmp_path / "a.pyz")
    os.utime(Path(runner.build.__file__).parent / "release.py")
    second = build(tmp_path / "b.pyz")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert (first.sha256, first.size) == (second.sha256, second.size)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pyz", "b.pyz"]


def test_a_build_from_another_place_under_another_umask_gives_the_same_bytes(tmp_path, built):
    room = Path(runner.build.__file__).parent
    shutil.copytree(room, tmp_path / "elsewhere/runner", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import os, sys; os.umask(0); from pathlib import Path; from runner.build import build; print(build(Path(sys.argv[1])).sha256)"
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c.pyz")],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == built.sha256


def test_the_archive_holds_sources_and_the_step_kinds(built):
    with zipfile.ZipFile(built.path) as archive:
        names = archive.namelist()
        assert json.loads(archive.read("step_kinds.json")) == built.step_kinds
    assert names == sorted(names)
    assert "__main__.py" in names
    assert not [
        n for n in names if not n.startswith(("runner/", "ruamel")) and n not in {"__main__.py", "step_kinds.json"}
    ]
    assert not [n for n in names if n.endswith((".pyc", "build.py")) or "__pycache__" in n]


def test_what_is_bundled_is_pinned_byte_for_byte_and_by_the_lock(built):
    pins = Path("runner/bundled.txt").read_text()
    with zipfile.ZipFile(built.path) as archive:
        bundled = {n: archive.read(n) for n in archive.namelist() if n.startswith("ruamel")}
    named = dict(reversed(line.split()) for line in pins.splitlines() if not line.startswith("#"))
    assert {n: hashlib.sha256(data).hexdigest() for n, data in bundled.items() if data} == named
    assert {n for n, data in bundled.items() if not data} == {"ruamel/__init__.py", "ruamel/yaml/__init__.py"}
    (wheel,) = re.findall(r"wheel is sha256:(\w+)", pins)
    assert f"--hash=sha256:{wheel}" in Path("requirements.txt").read_text()


def test_a_changed_byte_in_what_is_installed_ends_the_build(tmp_path):
    pins = tmp_path / "bundled.txt"
    pins.write_text(Path("runner/bundled.txt").read_text().replace("scanner.py", "serializer.py"))
    with pytest.raises(BundleDiffers, match=r"serializer\.py is not the file that"):
        _bundled(pins)
    pins.write_text(f"{'0' * 64}  ruamel/yaml/absent.py\n")
    with pytest.raises(BundleDiffers, match=r"absent\.py is not installed"):
        _bundled(pins)


def test_a_job_without_yaml_imports_nothing_that_is_bundled(built):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import runner.formats, runner.steps.deploy_package, runner.supervisor; runner.formats.format_of('a.yaml', ''); print('ruamel' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(built.path)], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "False\n"


def test_the_runner_imports_the_standard_library_alone():
    for path in Path(runner.build.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for module in modules:
                top = module.split(".")[0]
                # compression.zstd is the standard library's from 3.14 on.
                is_bundled = top == "ruamel" and path.name == "yaml_file.py"
                is_known = top == "runner" or top in sys.stdlib_module_names or top == "compression"
                assert is_known or is_bundled, (path, module)


def test_version_and_step_kinds_are_printed_as_json(any_rig, built):
    run = lambda name: json.loads(subprocess.run([*any_rig.command, name], capture_output=True, check=True).stdout)  # noqa: E731
    assert run("version")["release"] == built.release
    assert run("step-kinds") == built.step_kinds


def test_wrong_usage_is_told(rig):
    for arguments in ([], ["dance"], ["supervise"], ["version", "x"]):
        ended = subprocess.run([*rig.command, *arguments], capture_output=True, text=True)
        assert ended.returncode == 2
        assert "run JOB.json   do a job here and now" in ended.stderr


def test_the_unpacked_runner_runs_from_compiled_files_alone(rig, unpacked, tmp_path):
    shutil.copytree(unpacked, tmp_path / "compiled")
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(tmp_path / "compiled")], check=True)
    rig.command[-1] = str(tmp_path / "compiled")
    before = sorted(p for p in (tmp_path / "compiled").rglob("*"))
    assert rig.script("echo fine").out == "fine\n"
    assert sorted(p for p in (tmp_path / "compiled").rglob("*")) == before


def test_a_job_can_be_run_by_hand(rig):
    folder = rig.folder(rig.job(properties={"script": "echo by hand; get_variable S >&2; exit 3"}, secret_names=["S"]))
    ended = subprocess.run(
        [*rig.command, "run", str(folder / "job.json")],
        capture_output=True, text=True, env={**rig.environ(), "MANYARM_SECRETS": '{"S":"hidden-value"}'},
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stdout == "by hand\n"
    assert "failed: script script ended with exit code 3" in ended.stderr
    assert "hidden-value" not in ended.stderr
