"""XML files: what the XPath finds that a variable is named is replaced (`/configuration/db/@host`, `//port`).

An attribute gets the value; of an element the content is replaced: by XML where there were elements in it and the value
is such, else by text. Names without `/` are no paths; neither is what is not written as one.
"""

from __future__ import annotations

from typing import List, Mapping, Tuple

from runner.errors import FileMalformed, StepFailed
from runner.file_format import FileFormat
from runner.rewriting import Rewriting
from runner.xml_path import Path, PathTooCostly, PathUnknown
from runner.xml_text import Attribute, Document, Element, Node, Text, read_xml

_Change = Tuple[int, int, str, str]


def _has_name(name: str) -> bool:
    return name.endswith(".xml")


def _has_look(text: str) -> bool:
    return text.lstrip().startswith("<")


def _replace(text: str, values: Mapping[str, str]) -> Tuple[str, Tuple[str, ...]]:
    document = read_xml(text)
    changes: List[_Change] = []
    for name, value in values.items():
        changes += [_change(document, node, name, value) for node in _found(document, name)]
    rewriting = Rewriting(text)
    # Of two that begin together the longer one is first: it replaces the other.
    for start, stop, name, new in sorted(changes, key=lambda change: (change[0], -change[1])):
        rewriting.put(name, start, stop, new)
    return rewriting.result()


def _found(document: Document, name: str) -> List[Node]:
    if "/" not in name:
        return []
    try:
        path = Path(name)
    except PathUnknown:
        return []
    try:
        found = path.nodes(document.top)
    except PathTooCostly as error:
        raise StepFailed(f"the XPath {name} {error}") from error
    return [node for node in found if node is not document.top]


def _change(document: Document, node: Node, name: str, value: str) -> _Change:
    if isinstance(node, Attribute):
        quote = document.text[node.start]
        return node.start, node.stop, name, f"{quote}{document.escaped(value, quote)}{quote}"
    if isinstance(node, Text):
        return node.start, node.stop, name, _text(document, node.kind, value)
    content = _content(document, node, value)
    if node.is_empty_tag:
        tail = document.tail_of(node)
        return (tail, node.stop, name, f">{content}</{node.name}>") if value else (tail, tail, name, "")
    return node.inside, node.end, name, content


def _content(document: Document, node: Element, value: str) -> str:
    pieces = [child for child in node.children if isinstance(child, Text) and child.kind != "comment"]
    if len(pieces) == len(node.children) == 1 and pieces[0].kind == "cdata":
        return _text(document, "cdata", value)
    if any(node.elements()) and _is_content(value):
        return value
    return document.escaped(value)


def _text(document: Document, kind: str, value: str) -> str:
    if kind == "comment" and ("--" in value or value.endswith("-")):
        raise StepFailed("the value of a comment holds `--`, which ends one")
    if kind == "comment":
        return f"<!--{value}-->"
    # A CDATA section cannot hold its own end, nor a sign that the file's encoding lacks.
    can_stand = kind == "cdata" and "]]>" not in value and document.can_hold(value)
    return f"<![CDATA[{value}]]>" if can_stand else document.escaped(value)


def _is_content(value: str) -> bool:
    try:
        return any(read_xml(f"<x>{value}</x>").root.elements())
    except FileMalformed:
        return False


FORMAT = FileFormat(name="XML", has_name=_has_name, has_look=_has_look, replace=_replace)
