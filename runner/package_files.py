"""Files of the package that a step names by globs: found safely, and changed no more than asked."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from typing import Iterator, List, Pattern, Sequence, Tuple

from runner.application_folder import MARKER
from runner.deployment import RunningDeployment
from runner.errors import StepFailed

TEXT_MAX_BYTES = 64 * 1024**2
_BOMS: Tuple[Tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def named_files(deployment: RunningDeployment, globs: Sequence[str]) -> List[Path]:
    """Every plain file below the release folder that one of the globs names, in order; `**` spans folders.

    A glob that names no file is told as a warning. Symbolic links are not followed.
    """
    root = deployment.release_folder
    files = [(path, path.relative_to(root).as_posix()) for path in _plain_files(root)]
    found: List[Path] = []
    for glob in globs:
        pattern = compiled_glob(deployment.variables.expand(glob, "a glob"))
        matching = [path for path, name in files if pattern.match(name)]
        if not matching:
            deployment.warn(f"no file of the package is named by {glob!r}")
        found += matching
    return sorted(set(found))


def read_text(path: Path) -> Tuple[str, str, bytes]:
    """A file's text, its encoding and its byte order mark; bytes that are no UTF-8 survive a round trip."""
    if path.stat().st_size > TEXT_MAX_BYTES:
        raise StepFailed(f"{path} has over {TEXT_MAX_BYTES} bytes, too large for a text file")
    data = path.read_bytes()
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, _errors(encoding)), encoding, bom
    return data.decode("utf-8", "surrogateescape"), "utf-8", b""


def write_text(path: Path, text: str, encoding: str, bom: bytes) -> None:
    """Replace a file's content at once, keeping its mode."""
    part = path.with_name(f".{path.name}.manyarm-part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(bom + text.encode(encoding, _errors(encoding)))
        os.fchmod(stream.fileno(), path.stat().st_mode & 0o777)
    part.replace(path)


def _errors(encoding: str) -> str:
    return "surrogateescape" if encoding == "utf-8" else "surrogatepass"


def _plain_files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and path != root / MARKER:
                yield path


def compiled_glob(glob: str) -> Pattern[str]:
    """A glob as a pattern over a relative path: `*` and `?` stay within a folder, `**/` spans any number of them."""
    if glob.startswith("/") or ".." in glob.split("/"):
        raise StepFailed(f"a glob must stay inside the package: {glob!r}")
    pieces: List[str] = []
    at = 0
    for found in re.finditer(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]", glob):
        pieces.append(re.escape(glob[at : found.start()]))
        pieces.append(_GLOB_PIECES.get(found.group()) or found.group().replace("[!", "[^"))
        at = found.end()
    pieces.append(re.escape(glob[at:]))
    try:
        return re.compile("".join(pieces) + r"\Z")
    except re.error as error:
        raise StepFailed(f"no glob: {glob!r} ({error})") from error


_GLOB_PIECES = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
