"""Reads a project file: YAML documents as plain JSON, with the line of each value for the hub's words about faults."""

import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from hub.cli.ending import CommandFailed, Status

Lines = dict[str, int]
_LARGEST_BYTES = 4 * 1024 * 1024
_MOST_VALUES = 100_000


def read_documents(file: Path) -> tuple[list[dict[str, Any]], list[Lines]]:
    """The file's documents, and for each the line of every JSON pointer in it ("" is the document itself).

    Raises:
        CommandFailed: The file cannot be read or is no YAML that we take; says where.
    """
    text = _text(file)
    documents: list[dict[str, Any]] = []
    lines: list[Lines] = []
    try:
        yaml = YAML(typ="safe", pure=True)
        for node in yaml.compose_all(text):
            if node is None or _is_empty(node):
                continue
            where: Lines = {}
            document = _Reader(file, where, yaml.constructor).value(node, "")
            if not isinstance(document, dict):
                raise CommandFailed(f"{file}:{_line(node)}: expected  kind: …  and its fields", Status.USAGE)
            documents.append(_with_environment(document, file, where))
            lines.append(where)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{file}:{mark.line + 1}" if mark is not None else str(file)
        raise CommandFailed(f"{place}: {error.problem or error.context or 'no YAML'}", Status.USAGE) from error
    except YAMLError as error:
        raise CommandFailed(f"{file}: {error}", Status.USAGE) from error
    return documents, lines


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise CommandFailed(f"{file}: larger than {_LARGEST_BYTES:,} bytes; split it", Status.USAGE)
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{file}: cannot be read ({error.strerror})", Status.USAGE) from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{file}: byte {error.start} is no UTF-8", Status.USAGE) from error


def _is_empty(node: Node) -> bool:
    """Nothing between two lines `---`, or after the last one."""
    return isinstance(node, ScalarNode) and node.value == "" and str(node.tag).endswith(":null")


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


class _Reader:
    """Turns nodes into JSON values; every tag but YAML's own plain ones is refused, and so are aliases that grow."""

    def __init__(self, file: Path, lines: Lines, scalars: Any) -> None:
        self._file = file
        self._lines = lines
        self._scalars = scalars
        self._seen = 0

    def value(self, node: Node, path: str) -> Any:
        self._seen += 1
        if self._seen > _MOST_VALUES:
            raise self._fault(node, f"more than {_MOST_VALUES:,} values; aliases that multiply are refused")
        self._lines[path] = _line(node)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            self._refuse_tag(node, "tag:yaml.org,2002:seq")
            return [self.value(item, f"{path}/{i}") for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, path: str) -> dict[str, Any]:
        self._refuse_tag(node, "tag:yaml.org,2002:map")
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise self._fault(key_node, "a key must be a word")
            key = str(key_node.value)
            if key in found:
                raise self._fault(key_node, f"{key!r} stands here a second time")
            found[key] = self.value(value_node, f"{path}/{key.replace('~', '~0').replace('/', '~1')}")
        return found

    def _scalar(self, node: Node) -> Any:
        tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if tag not in {"str", "int", "float", "bool", "null"}:
            if tag == "timestamp":
                return str(node.value)
            raise self._fault(
                node, f"the tag {str(node.tag)!r} is refused; plain text, numbers, true and false are taken"
            )
        return self._scalars.construct_object(node, deep=True)

    def _refuse_tag(self, node: Node, plain: str) -> None:
        if str(node.tag) != plain:
            raise self._fault(node, f"the tag {str(node.tag)!r} is refused")

    def _fault(self, node: Node, words: str) -> CommandFailed:
        return CommandFailed(f"{self._file}:{_line(node)}: {words}", Status.USAGE)


def _with_environment(document: dict[str, Any], file: Path, lines: Lines) -> dict[str, Any]:
    """Values from elsewhere are put in: `value_from_env: NAME`, and in accounts also `file_from_env: NAME`."""
    for i, variable in enumerate(document.get("variables") or []):
        if isinstance(variable, dict) and "value_from_env" in variable:
            line = lines.get(f"/variables/{i}/value_from_env", lines[""])
            variable["value"] = _from_env(str(variable.pop("value_from_env")), f"{file}:{line}")
    for part in ("fields", "secrets"):
        named = document.get(part)
        values = named if isinstance(named, dict) else {}
        for name, given in values.items():
            if isinstance(given, dict):
                values[name] = _elsewhere(given, f"{file}:{lines.get(f'/{part}/{name}', lines[''])}")
    return document


def _elsewhere(given: dict[str, Any], place: str) -> str:
    """The value itself, or that of the file that the variable names: a private key is a file already."""
    if list(given) == ["value_from_env"]:
        return _from_env(str(given["value_from_env"]), place)
    if list(given) == ["file_from_env"]:
        path = Path(_from_env(str(given["file_from_env"]), place)).expanduser()
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(f"{place}: {path} cannot be read as text", Status.USAGE) from error
    raise CommandFailed(f"{place}: expected a text, value_from_env: NAME or file_from_env: NAME", Status.USAGE)


def _from_env(name: str, place: str) -> str:
    if name not in os.environ:
        raise CommandFailed(f"{place}: {name} is not set in the environment of this command", Status.USAGE)
    return os.environ[name]
