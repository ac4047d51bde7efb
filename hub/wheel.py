"""The wheel that targets install, packed from what is installed here: hub and spokes are of one release."""

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path

ROOMS = ("config", "hub", "portal", "runner", "spokes", "wire")
_TIME = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = frozenset({".pyc", ".pyo"})
_WHEEL = "Wheel-Version: 1.0\nGenerator: manyarm\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def pack_wheel(folder: Path) -> Path:
    """Write the wheel of this installation into the folder, unless these very bytes are there; returns its path."""
    distribution = metadata.distribution("manyarm")
    version = distribution.version
    info = f"manyarm-{version}.dist-info"
    members = dict(_room_files())
    for name in ("METADATA", "entry_points.txt", "licenses/LICENSE"):
        members[f"{info}/{name}"] = _text(distribution, name)
    members[f"{info}/top_level.txt"] = "".join(f"{room}\n" for room in ROOMS).encode()
    members[f"{info}/WHEEL"] = _WHEEL.encode()
    members[f"{info}/RECORD"] = _record(members, f"{info}/RECORD")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"manyarm-{version}-py3-none-any.whl"
    new = path.with_suffix(".new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, members[name])
    if path.exists() and path.read_bytes() == new.read_bytes():
        new.unlink()
    else:
        new.replace(path)
    return path


def _room_files() -> Iterator[tuple[str, bytes]]:
    for room in ROOMS:
        root = Path(str(resources.files(room)))
        for file in sorted(root.rglob("*")):
            if file.is_file() and file.suffix not in _LEFT_OUT and "__pycache__" not in file.parts:
                yield f"{room}/{file.relative_to(root).as_posix()}", file.read_bytes()


def _text(distribution: metadata.Distribution, name: str) -> bytes:
    found = distribution.read_text(name)
    if found is None:
        raise FileNotFoundError(f"{name} of the distribution manyarm: install it with pip, or run make setup")
    return found.encode()


def _record(members: dict[str, bytes], own_name: str) -> bytes:
    lines = []
    for name, content in sorted(members.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    return ("\n".join([*lines, f"{own_name},,"]) + "\n").encode()
