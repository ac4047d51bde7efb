"""The files of a systemd service as a step's properties want them: its unit, and what its environment holds.

The environment never stands in the unit, which everybody on the machine can read: it lies beside it in a private file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Tuple

from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.package_files import read_text
from runner.replaced_files import PRIVATE, WantedFile

_SUFFIXES = (".service", ".socket", ".timer", ".path", ".target")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SYSTEM_FOLDER = "/etc/systemd/system"
_USER_FOLDER = ".config/systemd/user"
_DROP_IN = "10-manyarm.conf"


def unit_name(deployment: RunningDeployment) -> str:
    """The unit's whole name: `web` is `web.service`."""
    given = deployment.text("service")
    name = given if given.endswith(_SUFFIXES) else f"{given}.service"
    stem = name.rpartition(".")[0]
    if not _UNIT.fullmatch(stem) or stem.startswith("-") or len(name) > 200:
        raise StepFailed(f"property service: expected a unit's name such as web or web@1.service, found {given!r}")
    return name


def wanted_files(deployment: RunningDeployment, unit: str) -> Tuple[WantedFile, ...]:
    """The files that the properties ask for; none where they leave the unit as the machine has it."""
    folder = _folder(deployment)
    typed = _typed_unit(deployment)
    environment = _environment(deployment)
    path = folder / _file_name(unit)
    secret_file = folder / f"{unit}.environment"
    drop_in = folder / f"{unit}.d" / _DROP_IN
    if not (typed or deployment.text("exec") or environment):
        return ()
    wanted: List[WantedFile] = [WantedFile(secret_file, environment or None, PRIVATE)]
    if deployment.text("exec"):
        built = _built_unit(deployment, secret_file if environment else None)
        return (*wanted, WantedFile(drop_in, None), _unit_file(deployment, path, built))
    refers = f"[Service]\nEnvironmentFile={_plain_path(secret_file)}\n".encode()
    wanted.append(WantedFile(drop_in, refers if environment else None))
    return (*wanted, _unit_file(deployment, path, typed)) if typed else tuple(wanted)


def unit_path(deployment: RunningDeployment, unit: str) -> Path:
    return _folder(deployment) / _file_name(unit)


def _unit_file(deployment: RunningDeployment, path: Path, text: str) -> WantedFile:
    content = text.encode("utf-8", "surrogateescape")
    return WantedFile(path, content, PRIVATE if deployment.variables.holds_secret(text) else 0o644)


def _file_name(unit: str) -> str:
    """The unit `web@1.service` is an instance of what stands in `web@.service`."""
    stem, at, rest = unit.partition("@")
    return f"{stem}@.{rest.rpartition('.')[2]}" if at else unit


def _folder(deployment: RunningDeployment) -> Path:
    given = deployment.text("unit_directory")
    if given:
        folder = Path(given)
        if not folder.is_absolute() or ".." in folder.parts:
            raise StepFailed(f"property unit_directory: expected an absolute path without '..', found {given!r}")
        return folder
    if deployment.properties["scope"] == "system":
        return Path(_SYSTEM_FOLDER)
    return Path(deployment.scripts.program_environment()["HOME"], _USER_FOLDER)


def _typed_unit(deployment: RunningDeployment) -> str:
    """What `unit` or `unit_file` says; empty where there is neither."""
    typed = deployment.text("unit")
    source = deployment.text("unit_file")
    given = [name for name in ("exec", "unit", "unit_file") if deployment.text(name)]
    if len(given) > 1:
        raise StepFailed(f"properties {' and '.join(given)}: expected one of them, for each says what the unit is")
    if not source:
        return typed if not typed or typed.endswith("\n") else f"{typed}\n"
    path = Path(source)
    if not path.is_absolute():
        raise StepFailed(f"property unit_file: expected an absolute path, found {source!r}")
    if not path.is_file():
        raise StepFailed(f"property unit_file: there is no file {source}")
    text, _, _ = read_text(path)
    return deployment.variables.expand(text, path.name)


def _built_unit(deployment: RunningDeployment, environment: Path | None) -> str:
    """A unit from the single properties."""
    texts: Dict[str, str] = {
        name: _one_line(name, deployment.text(name))
        for name in ("exec", "description", "user", "group", "working_directory", "wanted_by")
    }
    service = [("Type", deployment.properties["type"]), ("ExecStart", texts["exec"])]
    service += [("User", texts["user"]), ("Group", texts["group"]), ("WorkingDirectory", texts["working_directory"])]
    service += [("EnvironmentFile", _plain_path(environment) if environment else "")]
    service += [("Restart", deployment.properties["restart_on"])]
    lines = ["[Unit]", f"Description={texts['description'] or deployment.text('service')}"]
    if deployment.properties["scope"] == "system":
        lines += ["Wants=network-online.target", "After=network-online.target"]
    lines += ["", "[Service]", *(f"{name}={value}" for name, value in service if value)]
    for option in deployment.properties["options"]:
        line = _one_line("options", deployment.variables.expand(option, "property options"))
        if not re.match(r"[A-Z][A-Za-z]*=", line):
            raise StepFailed(f"property options: expected lines such as LimitNOFILE=65536, found {line!r}")
        lines.append(line)
    default = "multi-user.target" if deployment.properties["scope"] == "system" else "default.target"
    return "\n".join([*lines, "", "[Install]", f"WantedBy={texts['wanted_by'] or default}", ""])


def _one_line(name: str, text: str) -> str:
    """A value that cannot become a second line of the unit, by its own line end or by swallowing the next one's."""
    if any(ord(c) < 32 or ord(c) == 127 for c in text) or text.endswith("\\"):
        raise StepFailed(f"property {name}: expected one line that does not end with a backslash")
    return text


def _plain_path(path: Path) -> str:
    """In a unit `%` begins a specifier."""
    return str(path).replace("%", "%%")


def _environment(deployment: RunningDeployment) -> bytes:
    """The lines of the private file; empty where no variable is asked for."""
    lines: List[str] = []
    for item in deployment.properties["environment"]:
        name, equals, value = deployment.variables.expand(item, "property environment").partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            raise StepFailed(f"property environment: expected NAME=VALUE, found {name[:80]!r}")
        if "\0" in value:
            raise StepFailed(f"property environment: the value of {name} holds a NUL character")
        lines.append(f'{name}="' + re.sub(r'(["\\$`])', r"\\\1", value) + '"\n')
    return "".join(lines).encode("utf-8", "surrogateescape")
