"""A job that a person wrote: a few fields, from which the job.json of a spoke is made.

{"kind": "deploy-package", "package": "storefront.1.0.0.zip",
 "properties": {"substitute_in": ["*.html"]},
 "variables": {"Greeting": "Hello"}, "secrets": {"ApiToken": "API_TOKEN"}}
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from runner.contract.archives import TAR_EXTENSIONS, ZIP_EXTENSIONS, extension_of
from runner.contract.errors import JobMalformed
from runner.contract.job import GRACE_S_MAX, INSTALL, MODES, Job
from runner.errors import NotAJob, RunnerError
from runner.steps import find_step

SECRETS_VARIABLE = "MANYARM_SECRETS"
_FIELDS: Mapping[str, str] = {
    "kind": "text",
    "step": "text",
    "properties": "object",
    "variables": "texts",
    "secrets": "texts",
    "expose_env": "list",
    "package": "text",
    "environment": "text",
    "target": "text",
    "project": "text",
    "release": "text",
    "tenant": "text",
    "mode": "text",
    "home": "text",
    "limits": "numbers",
    "grace_s": "number",
}
_EXPECTED = {
    "text": "expected a text",
    "object": 'expected an object, such as {"script": "echo hello"}',
    "texts": 'expected an object of texts, such as {"Name": "value"} (a number becomes a text in quotes)',
    "list": "expected a list of texts",
    "numbers": 'expected an object of whole numbers, such as {"wall_s": 60}',
    "number": f"expected a whole number from 0 to {GRACE_S_MAX}",
}  # fmt: skip
LIMITS: Mapping[str, int] = {"cpu_s": 3600, "wall_s": 3600, "out_bytes": 1024**3, "disk_bytes": 8 * 1024**3}
_PACKAGE_NAME = re.compile(r"(?P<id>.+?)\.(?P<version>[0-9]+(?:\.[0-9]+){1,3}(?:[-+][0-9A-Za-z.+-]+)?)\Z")
_MANIFEST = "handwritten"


def read_job(file: Path) -> Tuple[Dict[str, Any], Dict[str, str]]:
    """The job.json of a spoke, and the values of its secrets, from what a person wrote; a spoke's own stays as it is.

    Raises:
        NotAJob: it cannot be read, or a field is not what it must be.
    """
    written = _read(file)
    try:
        secrets = _given_secrets()
        if "format" in written:
            return written, secrets
        _check_fields(written)
        secrets.update(_named_secrets(written.get("secrets", {})))
        made = _made(written, secrets, file.resolve().parent)
        job = Job.from_json(made["job"])
        kind = find_step(job.step.kind).kind
        kind.check(job.properties)
        if kind.needs_package and job.package is None:
            raise JobMalformed("package", f"{kind.name} needs one: the path of a file named ID.VERSION.zip, .tar.gz, …")
    except JobMalformed as error:
        raise NotAJob(f"{file}: {error}") from error
    except NotAJob:
        raise
    except RunnerError as error:
        raise NotAJob(f"{file}: job field 'kind': {error}") from error
    return made, secrets


def _read(file: Path) -> Dict[str, Any]:
    try:
        written = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise NotAJob(f"{file}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise NotAJob(f"{file}:{error.lineno}: no JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise NotAJob(f"{file}: no JSON: {error}") from error
    if not isinstance(written, dict):
        raise NotAJob(f'{file}: expected a JSON object, such as {{"kind": "run-script", …}}')
    return written


def _given_secrets() -> Dict[str, str]:
    """Those in MANYARM_SECRETS, a JSON object, which is taken out of the environment."""
    try:
        secrets = json.loads(os.environ.pop(SECRETS_VARIABLE, "{}"))
    except ValueError as error:
        raise NotAJob(f"the environment variable {SECRETS_VARIABLE} is no JSON: {error}") from error
    if not isinstance(secrets, dict) or not all(isinstance(value, str) for value in secrets.values()):
        raise NotAJob(f"the environment variable {SECRETS_VARIABLE} must be a JSON object of texts")
    return secrets


def _named_secrets(names: Mapping[str, str]) -> Dict[str, str]:
    """`{"ApiToken": "API_TOKEN"}`: the secret ApiToken from the environment variable API_TOKEN."""
    for name, variable in names.items():
        if variable not in os.environ:
            raise JobMalformed(f"secrets.{name}", f"there is no environment variable {variable!r} to take it from")
    return {name: os.environ.pop(variable) for name, variable in names.items()}


def _check_fields(written: Mapping[str, Any]) -> None:
    for name, value in written.items():
        if name not in _FIELDS:
            raise JobMalformed(name, f"nobody knows this field; known are {', '.join(_FIELDS)}")
        if not _fits(_FIELDS[name], value):
            raise JobMalformed(name, _EXPECTED[_FIELDS[name]])
    if "kind" not in written:
        raise JobMalformed("kind", 'is missing: which step is it, such as "run-script" or "deploy-package"?')
    if written.get("mode", INSTALL) not in MODES:
        raise JobMalformed("mode", f"expected one of {', '.join(MODES)}")
    for name in written.get("limits", {}):
        if name not in LIMITS:
            raise JobMalformed(f"limits.{name}", f"nobody knows this limit; known are {', '.join(LIMITS)}")


def _fits(wanted: str, value: object) -> bool:
    if wanted == "text":
        return isinstance(value, str)
    if wanted == "number":
        return _is_number(value) and value <= GRACE_S_MAX  # type: ignore[operator]  # it is one by then
    if wanted == "list":
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if not isinstance(value, dict):
        return False
    if wanted == "texts":
        return all(isinstance(one, str) for one in value.values())
    return wanted == "object" or all(_is_number(one) and one > 0 for one in value.values())


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _made(written: Mapping[str, Any], secrets: Mapping[str, str], beside: Path) -> Dict[str, Any]:
    text = {name: str(written.get(name, "")) for name, kind in _FIELDS.items() if kind == "text"}
    package, packages = _package(text["package"], beside)
    step = text["step"] or text["kind"]
    environment, project = text["environment"] or "Local", text["project"] or "By hand"
    release = text["release"] or (package or {"version": "0.0.0"})["version"]
    target = text["target"] or platform.node() or "this machine"
    job = {
        "task": "", "step": {"name": step, "kind": text["kind"]}, "attempt": 1,
        "target": {"id": "", "name": target}, "environment": {"id": "", "name": environment},
        "project": {"id": "", "name": project}, "release": {"id": "", "version": release},
        "properties": written.get("properties", {}),
        "variables": {
            "Manyarm.Environment.Name": environment, "Manyarm.Project.Name": project, "Manyarm.Release.Number": release,
            "Manyarm.Step.Name": step, "Manyarm.Target.Name": target, **written.get("variables", {}),
        },
        "secret_names": sorted(secrets), "expose_env": written.get("expose_env", []), "package": package,
        "isolation": "", "grace_s": written.get("grace_s", 10), "tenant": text["tenant"],
    }  # fmt: skip
    if text["mode"]:
        job["mode"] = text["mode"]
    home = str((beside / text["home"]).resolve()) if text["home"] else ""
    limits = {**LIMITS, **written.get("limits", {})}
    return {"format": 1, "job": job, "cid": "", "packages": packages, "home": home, "limits": limits, "run_as": ""}


def _package(name: str, beside: Path) -> Tuple[Dict[str, str] | None, Dict[str, str]]:
    """The package that a file's name tells of, and where the file lies."""
    if not name:
        return None, {}
    file = (beside / name).resolve()
    extension = extension_of(file)
    found = _PACKAGE_NAME.match(file.name[: -len(extension) - 1]) if extension else None
    if found is None:
        known = ", ".join(sorted(ZIP_EXTENSIONS | TAR_EXTENSIONS))
        raise JobMalformed("package", f"expected a file named ID.VERSION.EXTENSION ({known}), found {file.name!r}")
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            for piece in iter(lambda: stream.read(1024 * 1024), b""):
                digest.update(piece)
    except OSError as error:
        raise JobMalformed("package", f"{file}: {error.strerror}") from error
    package = {
        "id": found["id"], "version": found["version"], "extension": extension, "manifest_id": _MANIFEST,
        "sha256": digest.hexdigest(),
    }  # fmt: skip
    return package, {_MANIFEST: str(file)}
