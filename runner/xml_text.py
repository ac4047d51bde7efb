"""XML as a text with places: where each element, attribute and piece of content stands, so that it can be cut there.

`expat` says first whether the text is well formed. Nothing is fetched and no entity is expanded: a DTD inside the file
is refused, one that is only named is not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Match, Optional, Union

from runner.errors import FileMalformed, StepFailed

MAX_CHARS = 8 * 1024**2
MAX_DEPTH = 256
# What stands between two pieces of text, in a text that is known to be well formed.
_MARKUP = re.compile(
    r"<!--(?P<comment>.*?)-->|<!\[CDATA\[(?P<cdata>.*?)\]\]>|<\?.*?\?>|<!DOCTYPE(?:[^>\"']|\"[^\"]*\"|'[^']*')*>"
    r"|</(?P<end>[^\s>]+)\s*>|<(?P<start>[^\s/>]+)(?P<attributes>(?:[^>\"']|\"[^\"]*\"|'[^']*')*)>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"\s+([^\s=]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_ENCODING = re.compile(r"<\?xml[^>]*?\sencoding\s*=\s*[\"']([\w.-]+)[\"']")
_REFERENCE = re.compile(r"&(?:#x([0-9a-fA-F]{1,6})|#([0-9]{1,7})|(lt|gt|amp|quot|apos));")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_UNSAID = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


@dataclass
class Attribute:
    """`start` and `stop` are those of the value with its quotes, `begin` where the space before the name begins."""

    owner: Element
    name: str
    value: str
    begin: int
    start: int
    stop: int


@dataclass
class Text:
    """A piece of text, a CDATA section or a comment, by what `kind` says."""

    owner: Element
    kind: str
    value: str
    start: int
    stop: int


@dataclass
class Element:
    """`start` to `stop` is all of it, `inside` to `end` its content, `name_stop` where its name ends."""

    name: str
    owner: Optional[Element]
    start: int
    name_stop: int
    inside: int
    end: int = 0
    stop: int = 0
    attributes: Dict[str, Attribute] = field(default_factory=dict)
    children: List[Union[Element, Text]] = field(default_factory=list)
    number: int = 0

    @property
    def is_empty_tag(self) -> bool:
        """Whether it is written as `<name/>`."""
        return self.inside == self.stop

    def elements(self) -> Iterator[Element]:
        return (child for child in self.children if isinstance(child, Element))

    def value(self) -> str:
        """All text in it."""
        pieces: List[str] = []
        left: List[Union[Element, Text]] = [self]
        while left:
            node = left.pop()
            if isinstance(node, Element):
                left += reversed(node.children)
            elif node.kind != "comment":
                pieces.append(node.value)
        return "".join(pieces)


Node = Union[Element, Attribute, Text]


@dataclass(frozen=True)
class Document:
    """A whole file; `top` is a nameless element that holds the root."""

    text: str
    top: Element
    encoding: str

    @property
    def root(self) -> Element:
        return next(self.top.elements())

    def let_go(self) -> None:
        """Free its memory at once: owners and what they own refer to each other."""
        left = [self.top]
        while left:
            element = left.pop()
            left += element.elements()
            element.attributes.clear()
            element.children.clear()

    def tail_of(self, element: Element) -> int:
        """Where the end of an element's first tag begins: `>`, or `/>` with the space before it."""
        signs = 2 if element.is_empty_tag else 1
        tag = self.text[element.start : element.inside - signs]
        return element.start + len(tag.rstrip())

    def escaped(self, value: str, quote: str = "") -> str:
        """A value as text, or as an attribute between these quotes.

        Raises:
            StepFailed: it holds a sign that XML has no way to write.
        """
        odd = _UNSAID.search(value)
        if odd is not None:
            raise StepFailed(f"XML cannot hold the sign U+{ord(odd.group()):04X} of a value")
        value = value.replace("&", "&amp;").replace("<", "&lt;").replace("\r", "&#13;")
        value = value.replace(">", "&gt;") if not quote else value.replace("\n", "&#10;").replace("\t", "&#9;")
        value = value.replace(quote, "&quot;" if quote == '"' else "&apos;") if quote else value
        return "".join(sign if self.can_hold(sign) else f"&#{ord(sign)};" for sign in value)

    def can_hold(self, text: str) -> bool:
        """Whether the file's encoding has these signs, or the file tells of none but Unicode."""
        return text.isascii() or self.encoding.startswith("utf")


def read_xml(text: str) -> Document:
    """The places of a text.

    Raises:
        FileMalformed: not well formed, too large, too deep, or with a DTD of its own.
    """
    if len(text) > MAX_CHARS:
        raise FileMalformed(f"the file has over {MAX_CHARS} characters, too many for XML")
    _check(text)
    top = Element("", None, 0, 0, 0, len(text), len(text))
    element, at, number = top, 0, 0
    for found in _MARKUP.finditer(text):
        if found.start() > at:
            element.children.append(Text(element, "text", _unescaped(text[at : found.start()]), at, found.start()))
        at = found.end()
        if found.group("start"):
            number += 1
            child = _begun(found, element, number)
            element.children.append(child)
            element = element if child.is_empty_tag else child
        elif found.group("end"):
            element.end, element.stop = found.start(), found.end()
            assert element.owner is not None
            element = element.owner
        else:
            kind = "comment" if found.group("comment") is not None else "cdata"
            content = found.group(kind)
            if content is not None:
                element.children.append(Text(element, kind, content, *found.span()))
    declared = _ENCODING.match(text)
    return Document(text, top, declared.group(1).lower() if declared else "utf-8")


def _begun(found: Match[str], owner: Element, number: int) -> Element:
    is_whole = found.group("attributes").endswith("/")
    child = Element(found.group("start"), owner, found.start(), found.end("start"), found.end(), number=number)
    if is_whole:
        child.end = child.stop = found.end()
    for attribute in _ATTRIBUTE.finditer(found.string, found.end("start"), found.end("attributes")):
        name, value = attribute.group(1), _unescaped(attribute.group(2)[1:-1])
        start, stop = attribute.span(2)
        child.attributes[name] = Attribute(child, name, value, attribute.start(), start, stop)
    return child


def _check(text: str) -> None:
    """Raises FileMalformed unless expat takes it, without a DTD of its own and not deeper than allowed."""
    # Late: no other file needs it.
    from xml.parsers import expat

    parser = expat.ParserCreate("utf-8")
    depth = 0

    def doctype(_name: str, _system: Optional[str], _public: Optional[str], has_subset: int) -> None:
        if has_subset:
            raise FileMalformed("a DTD inside the file is refused: entities are not expanded", parser.CurrentLineNumber)

    def begin(_name: str, _attributes: Dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise FileMalformed(f"not well-formed XML: nested deeper than {MAX_DEPTH}", parser.CurrentLineNumber)

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise FileMalformed(f"not well-formed XML: {expat.ErrorString(error.code)}", error.lineno) from error


def _unescaped(text: str) -> str:
    """Signs in the place of references to them; those to entities of a DTD stay."""
    return _REFERENCE.sub(lambda found: _NAMED.get(found.group(3)) or _sign(found.group(1), found.group(2)), text)


def _sign(hexadecimal: Optional[str], decimal: Optional[str]) -> str:
    return chr(int(hexadecimal, 16) if hexadecimal else int(decimal or "0"))
