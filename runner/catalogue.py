"""Catalogues are folders: a step kind, a language or a file format is one file, found by its name."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import List, Tuple

from runner.errors import StepUnknown


def entry(folder: str, name: str, what: str) -> ModuleType:
    """The module of one entry; `deploy-package` lies in `deploy_package.py`.

    Raises:
        StepUnknown: there is none of that name; the message names those there are.
    """
    module = f"runner.{folder}.{name.replace('-', '_')}"
    if name.isascii() and name.islower() and "_" not in name and name.replace("-", "_").isidentifier():
        try:
            return _imported(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    raise StepUnknown(f"no {what} is called {name!r}; this runner knows {', '.join(names(folder))}")


def names(folder: str) -> Tuple[str, ...]:
    """The name of every entry; none is imported."""
    return tuple(found.rpartition(".")[2].replace("_", "-") for found in _modules(folder))


def entries(folder: str) -> List[ModuleType]:
    """Every entry of a catalogue, in the order of their names."""
    return [_imported(module) for module in _modules(folder)]


def _imported(module: str) -> ModuleType:
    """As importlib does, which would have to be imported itself."""
    __import__(module)
    return sys.modules[module]


def _modules(folder: str) -> List[str]:
    (place,) = _imported(f"runner.{folder}").__path__
    files = os.listdir(place) if os.path.isdir(place) else _zipped(place)  # noqa: PTH112, PTH208  a plain list of names
    return sorted(f"runner.{folder}.{name[:-3]}" for name in files if name.endswith(".py") and name[:2] != "__")


def _zipped(place: str) -> List[str]:
    """The names of a folder's modules in the archive as which the runner may be started, too."""
    import pkgutil  # late: people start it so, not spokes, which unpack it

    return [f"{module.name}.py" for module in pkgutil.iter_modules([place])]
