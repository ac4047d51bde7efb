"""Which files of a package are its own scripts: `PreDeploy.sh` and its kin, in its root, by name and extension."""

from __future__ import annotations

from pathlib import Path
from typing import FrozenSet, List, Tuple

from runner.language import Language
from runner.languages import all_languages
from runner.languages.shebang import LANGUAGE as SHEBANG

STAGES = ("PreDeploy", "Deploy", "PostDeploy", "DeployFailed")


def packaged_scripts(folder: Path, stage: str) -> List[Tuple[Path, Language]]:
    """A stage's scripts, the one to be run first; symbolic links are not followed.

    Those that any interpreter may run have the stage's name in its very letters; without an extension they must
    begin with `#!`: a package may well have a folder, a program or a text called `deploy`.
    """
    files = {path.name: path for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    folded = {name.casefold(): path for name, path in files.items()}
    found: List[Tuple[Path, Language]] = []
    for language in all_languages():
        known = files if language is SHEBANG else folded
        for extension in language.extensions:
            name = f"{stage}.{extension}" if extension else stage
            path = known.get(name if language is SHEBANG else name.casefold())
            if path is not None and (extension or _names_its_interpreter(path)):
                found.append((path, language))
    return found


def packaged_script_names(folder: Path) -> FrozenSet[str]:
    """Of the scripts of all stages."""
    return frozenset(path.name for stage in STAGES for path, _ in packaged_scripts(folder, stage))


def _names_its_interpreter(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"#!"
