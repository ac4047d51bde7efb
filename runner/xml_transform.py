"""XML transforms as of Microsoft's XDT: one file says what becomes of the elements of another one.

Each element of the transform stands for those of the file that have its name, below those its parent stands for; a
`Locator` narrows or replaces that. The elements that have a `Transform` are taken in order, each on what those before
it made. What is not touched keeps every space.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, Iterator, List, Tuple

from runner.errors import FileMalformed, StepFailed
from runner.rewriting import line_of
from runner.xml_path import Condition, Path, PathTooCostly, PathUnknown
from runner.xml_text import Attribute, Document, Element, Node, Text, read_xml

NAMESPACE = "http://schemas.microsoft.com/XML-Document-Transform"
# Characters that are read again after each change, in all.
MAX_WORK_CHARS = 32 * 1024**2
_CALL = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*\Z", re.DOTALL)
_ODD = re.compile("[\ud800-\udfff]")
_Edit = Tuple[int, int, str]


class _Transform:
    """One element of a transform file."""

    def __init__(self, plan: _Plan, element: Element) -> None:
        self.plan = plan
        self.element = element
        self.name, self.arguments = plan.call(element, "Transform")

    def fault(self, sentence: str) -> FileMalformed:
        return FileMalformed(sentence, self.plan.line(self.element))

    def found(self, document: Document) -> List[Element]:
        """The elements that it stands for now."""
        return self.plan.found(document, self.element)

    def owners(self, document: Document) -> List[Element]:
        """Those that its parent stands for."""
        owner = self.element.owner
        if owner is None or not owner.name:
            raise self.fault("the root of the file cannot be inserted beside itself")
        return self.plan.found(document, owner)

    def own_attributes(self) -> List[Attribute]:
        """Its attributes, or those of them that its arguments name."""
        attributes = self.element.attributes.items()
        own = {
            name: one for name, one in attributes if not self.plan.is_ours(name) and name.partition(":")[0] != "xmlns"
        }
        for name in self.arguments:
            if name not in own:
                raise self.fault(f"{self.name} names the attribute {name}, which its element does not have")
        return [own[name] for name in self.arguments or own]


class _Plan:
    """A transform file that was read."""

    def __init__(self, text: str) -> None:
        odd = _ODD.search(text)
        if odd is not None:
            raise FileMalformed("no transform: expected UTF-8", line_of(text, odd.start()))
        self.document = read_xml(text)
        root = self.document.root
        declared = [name for name, attribute in root.attributes.items() if attribute.value == NAMESPACE]
        if not declared or not declared[0].startswith("xmlns:"):
            raise FileMalformed(f'no transform: expected xmlns:xdt="{NAMESPACE}" in its root', self.line(root))
        self._prefix = declared[0].partition(":")[2] + ":"

    def line(self, element: Element) -> int:
        return line_of(self.document.text, element.start)

    def is_ours(self, name: str) -> bool:
        """Whether an attribute belongs to the transform and not to the file."""
        return name.startswith(self._prefix) or name == f"xmlns:{self._prefix[:-1]}"

    def steps(self) -> Iterator[_Transform]:
        """Every element with a Transform, in order; what one of them inserts holds none of its own."""
        left = [self.document.root]
        while left:
            element = left.pop()
            if element.name.startswith(self._prefix):
                raise FileMalformed(f"<{element.name}> is not offered", self.line(element))
            transform = _Transform(self, element)
            if transform.name:
                yield transform
            if transform.name in ("", "SetAttributes", "RemoveAttributes"):
                left += reversed(list(element.elements()))

    def call(self, element: Element, kind: str) -> Tuple[str, List[str]]:
        """The name and arguments of a Transform or Locator; a path or condition is one argument."""
        attribute = element.attributes.get(self._prefix + kind)
        if attribute is None:
            return "", []
        found = _CALL.match(attribute.value)
        known = _TRANSFORMS if kind == "Transform" else _LOCATORS
        if found is None or found.group(1) not in known:
            names = ", ".join(known)
            raise FileMalformed(f"expected a {kind} ({names}), found {attribute.value!r}", self.line(element))
        name, inside = found.group(1), (found.group(2) or "").strip()
        is_whole = name in ("Condition", "XPath", "InsertBefore", "InsertAfter")
        arguments = [inside] if is_whole else [part.strip() for part in inside.split(",")]
        return name, [argument for argument in arguments if argument]

    def found(self, document: Document, element: Element) -> List[Element]:
        locator, arguments = self.call(element, "Locator")
        if locator == "XPath":
            return self.by_path(document, element, arguments)
        owner = element.owner
        owners = self.found(document, owner) if owner is not None and owner.name else [document.top]
        named = [[child for child in one.elements() if child.name == element.name] for one in owners]
        if locator == "Condition":
            return [one for found in named for one in self._of_condition(found, element, arguments)]
        below = [child for found in named for child in found]
        if locator != "Match":
            return below
        for name in arguments:
            if name not in element.attributes:
                raise FileMalformed(f"Match names the attribute {name}, which its element lacks", self.line(element))
        wanted = {name: element.attributes[name].value for name in arguments}
        return [child for child in below if wanted.items() <= {n: a.value for n, a in child.attributes.items()}.items()]

    def by_path(self, document: Document, element: Element, arguments: List[str]) -> List[Element]:
        try:
            found: List[Node] = Path("".join(arguments)).nodes(document.top)
        except (PathUnknown, PathTooCostly) as error:
            raise FileMalformed(f"the XPath {''.join(arguments)!r}: {error}", self.line(element)) from error
        elements = [node for node in found if isinstance(node, Element) and node.name]
        return sorted(elements, key=lambda one: one.start)

    def _of_condition(self, found: List[Element], element: Element, arguments: List[str]) -> List[Element]:
        try:
            return [one for one in Condition("".join(arguments)).of(found) if isinstance(one, Element)]
        except (PathUnknown, PathTooCostly) as error:
            raise FileMalformed(f"the condition {''.join(arguments)!r}: {error}", self.line(element)) from error

    def content(self, element: Element, document: Document, indent: str) -> str:
        """An element as it comes into the file: without what is the transform's, with the file's line ends."""
        text = self.document.text
        pieces: List[str] = []
        at = element.start
        for one in _below(element):
            for name, attribute in one.attributes.items():
                if self.is_ours(name):
                    pieces.append(text[at : attribute.begin])
                    at = attribute.stop
        written = "".join([*pieces, text[at : element.stop]])
        lines = written.replace("\r\n", "\n").split("\n")
        old = _indent_before(text, element.start)
        moved = [lines[0], *(indent + line[len(old) :] if line.startswith(old) else line for line in lines[1:])]
        shown = _line_end(document.text).join(moved)
        return "".join(sign if document.can_hold(sign) else f"&#{ord(sign)};" for sign in shown)


def transform(text: str, plan_text: str) -> Tuple[str, int]:
    """What a transform makes of a file, and how many changes that were.

    Raises:
        FileMalformed: the file is not well formed.
        TransformFailed: the transform is not as it must be, or an element that it means is not there.
    """
    try:
        plan = _Plan(plan_text)
    except FileMalformed as error:
        raise TransformFailed(str(error), error.line) from error
    document = read_xml(text)
    count, work = 0, 0
    try:
        for step in plan.steps():
            edits = _TRANSFORMS[step.name](step, document)
            work += len(document.text)
            if work > MAX_WORK_CHARS:
                raise step.fault("too many changes to so large a file")
            count += len(edits)
            if edits:
                edited = _edited(document.text, edits)
                document.let_go()
                document = read_xml(edited)
    except FileMalformed as error:
        raise TransformFailed(str(error), error.line) from error
    return document.text, count


class TransformFailed(StepFailed):
    """A transform could not be done; `line` is that of the transform file."""

    def __init__(self, sentence: str, line: int) -> None:
        super().__init__(sentence)
        self.line = line


def _must(step: _Transform, found: List[Element]) -> List[Element]:
    if not found:
        raise step.fault(f"{step.name}: no <{step.element.name}> of the file is meant by this one")
    return found


def _replace(step: _Transform, document: Document) -> List[_Edit]:
    first = _must(step, step.found(document))[0]
    content = step.plan.content(step.element, document, _indent_before(document.text, first.start))
    return [(first.start, first.stop, content)]


def _remove(step: _Transform, document: Document) -> List[_Edit]:
    return [_without(step, document, _must(step, step.found(document))[0])]


def _remove_all(step: _Transform, document: Document) -> List[_Edit]:
    return [_without(step, document, one) for one in _must(step, step.found(document))]


def _without(step: _Transform, document: Document, element: Element) -> _Edit:
    """An element goes with its line, where nothing else stands before it there."""
    if element is document.root:
        raise step.fault(f"{step.name}: the root of the file cannot be removed")
    text = document.text
    begin = element.start - len(_indent_before(text, element.start))
    if text[begin - 1 : begin] != "\n":
        return element.start, element.stop, ""
    return begin - (2 if text[begin - 2 : begin] == "\r\n" else 1), element.stop, ""


def _insert(step: _Transform, document: Document) -> List[_Edit]:
    return [_appended(step, document, owner) for owner in _must(step, step.owners(document))]


def _insert_if_missing(step: _Transform, document: Document) -> List[_Edit]:
    return [] if step.found(document) else _insert(step, document)


def _appended(step: _Transform, document: Document, owner: Element) -> _Edit:
    text = document.text
    there = [one for one in owner.children if not isinstance(one, Text) or one.value.strip()]
    if there:
        # A comment behind the last element is no model of how a line begins.
        model = next((one for one in reversed(there) if _between(document, one.start)), there[-1])
        content = step.plan.content(step.element, document, _indent_before(text, model.start))
        return there[-1].stop, there[-1].stop, _between(document, model.start) + content
    outer = _indent_before(text, owner.start)
    indent = outer + _step_of(document)
    content = _line_end(text) + indent + step.plan.content(step.element, document, indent) + _line_end(text) + outer
    if owner.is_empty_tag:
        return document.tail_of(owner), owner.stop, f">{content}</{owner.name}>"
    return owner.inside, owner.end, content


def _insert_before(step: _Transform, document: Document) -> List[_Edit]:
    place = _must(step, step.plan.by_path(document, step.element, step.arguments))[0]
    indent = _indent_before(document.text, place.start)
    content = step.plan.content(step.element, document, indent)
    return [(place.start, place.start, content + _between(document, place.start))]


def _insert_after(step: _Transform, document: Document) -> List[_Edit]:
    place = _must(step, step.plan.by_path(document, step.element, step.arguments))[0]
    indent = _indent_before(document.text, place.start)
    content = step.plan.content(step.element, document, indent)
    return [(place.stop, place.stop, _between(document, place.start) + content)]


def _between(document: Document, at: int) -> str:
    """What stands before an element that begins a line, and before others beside it; empty where it begins none."""
    indent = _indent_before(document.text, at)
    is_own_line = document.text[at - len(indent) - 1 : at - len(indent)] == "\n"
    return _line_end(document.text) + indent if is_own_line else ""


def _set_attributes(step: _Transform, document: Document) -> List[_Edit]:
    edits: List[_Edit] = []
    for one in _must(step, step.found(document)):
        last = max((attribute.stop for attribute in one.attributes.values()), default=one.name_stop)
        for wanted in step.own_attributes():
            there = one.attributes.get(wanted.name)
            quote = document.text[there.start] if there else '"'
            value = f"{quote}{document.escaped(wanted.value, quote)}{quote}"
            edits.append((there.start, there.stop, value) if there else (last, last, f" {wanted.name}={value}"))
    return edits


def _remove_attributes(step: _Transform, document: Document) -> List[_Edit]:
    if not step.arguments:
        raise step.fault("RemoveAttributes names no attribute, as in RemoveAttributes(debug)")
    found = _must(step, step.found(document))
    gone = [one.attributes[name] for one in found for name in step.arguments if name in one.attributes]
    return [(attribute.begin, attribute.stop, "") for attribute in gone]


_TRANSFORMS: Dict[str, Callable[[_Transform, Document], List[_Edit]]] = {
    "Replace": _replace,
    "Insert": _insert,
    "InsertBefore": _insert_before,
    "InsertAfter": _insert_after,
    "InsertIfMissing": _insert_if_missing,
    "Remove": _remove,
    "RemoveAll": _remove_all,
    "RemoveAttributes": _remove_attributes,
    "SetAttributes": _set_attributes,
}
_LOCATORS = ("Match", "Condition", "XPath")


def _edited(text: str, edits: List[_Edit]) -> str:
    """The text with all edits; of two that begin at one place the first comes first."""
    pieces: List[str] = []
    at = 0
    for start, stop, new in sorted(edits, key=lambda edit: edit[0]):
        if start < at:
            continue
        pieces += [text[at:start], new]
        at = stop
    return "".join([*pieces, text[at:]])


def _below(element: Element) -> Iterator[Element]:
    left = [element]
    while left:
        one = left.pop()
        yield one
        left += reversed(list(one.elements()))


def _indent_before(text: str, at: int) -> str:
    """The spaces before a place, where nothing else stands before it in its line."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    return "" if before.strip(" \t") else before


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _step_of(document: Document) -> str:
    """By how much the file indents: what its first element below the root has."""
    first = next(document.root.elements(), None)
    return (_indent_before(document.text, first.start) if first else "") or "  "
