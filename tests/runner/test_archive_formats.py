"""Every archive format, honest and hostile, unpacked by the built runner under each Python of this machine."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ZIPS, TARS = ("zip", "nupkg", "whl", "jar"), {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2"}
PYTHONS = [
    Path(sys.executable),
    *(
        path
        for path in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))
        if int(path.parents[1].name.split(".")[1]) >= 9
    ),
]
UNPACK = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from runner.contract.archives import safe_unpack
from runner.contract.errors import ArchiveRefused
found = {}
for path in sys.argv[2:]:
    out = path + ".out"
    try:
        safe_unpack(path, out)
    except ArchiveRefused as error:
        assert not os.path.lexists(out)
        found[os.path.basename(path)] = error.code
        continue
    files = {}
    for folder, _, names in os.walk(out):
        for name in names:
            file = os.path.join(folder, name)
            with open(file, "rb") as stream:
                files[os.path.relpath(file, out)] = [len(stream.read()), oct(os.stat(file).st_mode & 0o7777)]
    found[os.path.basename(path)] = files
print(json.dumps(found))
"""
HONEST = {
    "index.html": (b"<h1>", 0o644),
    "bin/run.sh": (b"#!/bin/sh\n", 0o755),
    "empty": (b"", 0o600),
    "dir/ünï/ü.txt": (b"u" * 70_000, 0o640),
}
EXPECTED = {
    "index.html": [4, "0o644"],
    "bin/run.sh": [10, "0o755"],
    "empty": [0, "0o644"],
    "dir/ünï/ü.txt": [70_000, "0o644"],
}
LINK, PIPE = "link", "pipe"
HOSTILE = {
    "climbs": ([("../evil", b"x", None)], {"ARC_PATH"}),
    "absolute": ([("/etc/evil", b"x", None)], {"ARC_PATH"}),
    "link": ([("l", b"/etc", LINK)], {"ARC_TYPE"}),
    "pipe": ([("p", b"", PIPE)], {"ARC_TYPE"}),
    "twice": ([("a", b"x", None), ("A", b"y", None)], {"ARC_DUP"}),
    "file and folder": ([("a", b"x", None), ("a/b", b"y", None)], {"ARC_DUP"}),
    "reserved": ([("aux.txt", b"x", None)], {"ARC_NAME"}),
    "bomb": ([("zeros", bytes(40_000_000), None)], {"ARC_BOMB"}),
}  # fmt: skip


def zipped(path, entries):
    kinds = {LINK: 0o120777, PIPE: 0o010644}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, kind in entries:
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.compress_type = 3, zipfile.ZIP_DEFLATED
            entry.external_attr = (kinds[kind] if kind in kinds else 0o100000 | (kind or 0o644)) << 16
            archive.writestr(entry, content)


def tarred(path, entries, mode):
    kinds = {LINK: tarfile.SYMTYPE, PIPE: tarfile.FIFOTYPE}
    with tarfile.open(path, mode) as archive:
        for name, content, kind in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kinds.get(kind, tarfile.REGTYPE)
            entry.mode = kind if isinstance(kind, int) else 0o644
            entry.linkname = "/etc" if kind == LINK else ""
            entry.size = len(content) if entry.type == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(content))


def made(folder, stem, entries):
    """This content in every format; a plain tar of zeros is as large as what it holds, and no bomb."""
    for extension in (*ZIPS, *TARS):
        if stem == "bomb" and extension == "tar":
            continue
        path = folder / f"{stem}.{extension}"
        zipped(path, entries) if extension in ZIPS else tarred(path, entries, TARS[extension])
        yield path


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Every archive with what must come of it: the files, or the codes of which one is right."""
    folder = tmp_path_factory.mktemp("archives")
    found = dict.fromkeys(made(folder, "honest", [(n, c, m) for n, (c, m) in HONEST.items()]), EXPECTED)
    for stem, (entries, codes) in HOSTILE.items():
        found |= dict.fromkeys(made(folder, stem, [("good", b"x", None), *entries]), codes)
    for path in [path for path in found if path.stem.startswith("honest")]:
        longer, shorter = folder / f"longer-{path.name}", folder / f"shorter-{path.name}"
        longer.write_bytes(path.read_bytes() + b"evil" * 300)
        shorter.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        found |= {longer: {"ARC_FORMAT"}, shorter: {"ARC_FORMAT"}}
    (folder / "belied.zip").write_bytes((folder / "honest.tar").read_bytes())
    (folder / "belied.tar.gz").write_bytes(gzip.compress((folder / "honest.zip").read_bytes()))
    return {**found, folder / "belied.zip": {"ARC_FORMAT"}, folder / "belied.tar.gz": {"ARC_FORMAT"}}


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parents[1].name)
def test_every_format_is_unpacked_or_refused_by_its_rule(built, archives, python, tmp_path):
    for path in archives:
        (tmp_path / path.name).symlink_to(path)
    paths = [str(tmp_path / path.name) for path in archives]
    ended = subprocess.run(
        [str(python), "-I", "-S", "-c", UNPACK, str(built.path), *paths], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    wrong = {
        path.name: found[path.name]
        for path, expected in archives.items()
        if (found[path.name] not in expected if isinstance(expected, set) else found[path.name] != expected)
    }
    assert not wrong
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("extension", [*ZIPS, *TARS])
def test_a_package_of_every_format_is_deployed(rig, archives, extension):
    (path,) = [path for path in archives if path.name == f"honest.{extension}"]
    run = rig.deploy(path, extension=extension)
    assert run.outcome["state"] == "succeeded", run.text()
    release = Path(run.outcome["outputs"][0]["value"])
    assert (release / "dir/ünï/ü.txt").read_text() == "u" * 70_000
