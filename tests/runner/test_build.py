"""The built runner: the same bytes every time, nothing in it that is not ours, started quickly."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import runner.build
from runner.build import build


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
    assert not [n for n in names if not n.startswith("runner/") and n not in {"__main__.py", "step_kinds.json"}]
    assert not [n for n in names if n.endswith((".pyc", "build.py")) or "__pycache__" in n]


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
                assert top == "runner" or top in sys.stdlib_module_names or top == "compression", (path, module)


def test_version_and_step_kinds_are_printed_as_json(any_rig, built):
    run = lambda name: json.loads(subprocess.run([*any_rig.command, name], capture_output=True, check=True).stdout)  # noqa: E731
    assert run("version")["release"] == built.release
    assert run("step-kinds") == built.step_kinds


def test_wrong_usage_is_told(rig):
    for arguments in ([], ["dance"], ["supervise"], ["version", "x"]):
        ended = subprocess.run([*rig.command, *arguments], capture_output=True, text=True)
        assert ended.returncode == 2
        assert "usage: supervise JOB-FOLDER" in ended.stderr


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
