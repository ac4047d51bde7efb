"""XPath over runner.xml_text: the part of XPath 1.0 that finds nodes in configuration files.

    path       = ["/" | "//"] step {("/" | "//") step}
    step       = "." | ".." | ["@"] (name | prefix:name | "*" | prefix:*) {predicate} | text() | comment() | node()
    predicate  = "[" or "]"          a number alone is a position
    or, and    = as in XPath, with = != < > <= >= and the functions not(…), position(), last(), count(…), name(),
                 local-name(), contains(…), starts-with(…), string(…), normalize-space(…), string-length(…),
                 concat(…), true(), false()

A name is compared as it is written in the file, prefix and all; one without a prefix also finds the elements of a
default namespace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple, Union

from runner.xml_text import Attribute, Element, Node, Text

MAX_PATH = 2000
# Nodes that one path may look at.
MAX_VISITS = 2_000_000
_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"[^\"]*\"|'[^']*')|(?P<number>\d+(?:\.\d+)?)|(?P<sign>//|::|\.\.|!=|<=|>=|[/@.*\[\]()=<>,|])"
    r"|(?P<name>[^\W\d][\w.-]*(?::(?:[^\W\d][\w.-]*|\*))?))\s*"
)
_KINDS = {"text()": ("text", "cdata"), "comment()": ("comment",), "node()": ("text", "cdata", "comment")}


class PathUnknown(Exception):
    """A text is no path, or asks for what is not offered here."""


class PathTooCostly(Exception):
    """A path looks at more nodes than one may."""


Value = Union[bool, float, str, List[Node]]


@dataclass
class _Here:
    node: Node
    position: int
    size: int
    visits: List[int]


Expression = Callable[[_Here], Value]


class Path:
    """A compiled path.

    Raises:
        PathUnknown: it is none.
    """

    def __init__(self, text: str) -> None:
        self._find = _compiled(text, is_predicate=False)

    def nodes(self, node: Node) -> List[Node]:
        """What the path finds from a node, each once, in no certain order; raises PathTooCostly."""
        found = self._find(_Here(node, 1, 1, [0]))
        assert isinstance(found, list)
        return found


class Condition:
    """A compiled predicate, without its brackets; raises PathUnknown."""

    def __init__(self, text: str) -> None:
        self._holds = _compiled(text, is_predicate=True)

    def of(self, nodes: Sequence[Node]) -> List[Node]:
        visits = [0]
        return [
            node
            for place, node in enumerate(nodes, 1)
            if _is_true(self._holds(_Here(node, place, len(nodes), visits)), place)
        ]


def _compiled(text: str, *, is_predicate: bool) -> Expression:
    compiler = _Compiler(text)
    try:
        found = compiler.either() if is_predicate else compiler.path()
    except RecursionError as error:
        raise PathUnknown("nested too deeply") from error
    if compiler.next:
        raise PathUnknown(f"expected the end, found {compiler.next!r}")
    return found


class _Compiler:
    """Recursive descent; each rule gives a function of the place where it is asked."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATH:
            raise PathUnknown(f"over {MAX_PATH} characters")
        self._tokens: List[Tuple[str, str]] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise PathUnknown(f"no path: {text[at : at + 20]!r}")
            self._tokens.append((str(found.lastgroup), str(found.group(str(found.lastgroup)))))
            at = found.end()
        self._at = 0

    @property
    def next(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    @property
    def kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self.next
        self._at += 1
        return token

    def _expect(self, sign: str) -> None:
        if self._take() != sign:
            raise PathUnknown(f"expected {sign!r}")

    def either(self) -> Expression:
        left = self._both()
        while self.next == "or":
            self._take()
            left = _either(left, self._both())
        return left

    def _both(self) -> Expression:
        left = self._comparison()
        while self.next == "and":
            self._take()
            left = _both(left, self._comparison())
        return left

    def _comparison(self) -> Expression:
        left = self._operand()
        while self.next in _COMPARISONS:
            left = _compared(left, _COMPARISONS[self._take()], self._operand())
        return left

    def _operand(self) -> Expression:
        if self.kind == "text":
            text = self._take()[1:-1]
            return lambda _: text
        if self.kind == "number":
            number = float(self._take())
            return lambda _: number
        if self.next == "(":
            self._take()
            inner = self.either()
            self._expect(")")
            return inner
        is_call = self._tokens[self._at + 1 : self._at + 2] == [("sign", "(")]
        return self._call() if is_call and f"{self.next}()" not in _KINDS else self.path()

    def _call(self) -> Expression:
        name = self._take()
        if name not in _FUNCTIONS:
            raise PathUnknown(f"no function is called {name}; there are {', '.join(sorted(_FUNCTIONS))}")
        self._expect("(")
        arguments: List[Expression] = []
        while self.next != ")":
            arguments.append(self.either())
            if self.next != ",":
                break
            self._take()
        self._expect(")")
        function, least, most = _FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            raise PathUnknown(f"{name}() takes {least} to {most} arguments")
        return lambda here: function(here, [argument(here) for argument in arguments])

    def path(self) -> Expression:
        is_rooted = self.next in ("/", "//")
        steps: List[_Step] = []
        while True:
            is_deep = self.next == "//"
            if self.next in ("/", "//"):
                self._take()
                if is_rooted and not steps and not self.next and not is_deep:
                    break
            steps.append(self._step(is_deep=is_deep))
            if self.next not in ("/", "//"):
                break
        return lambda here: _walked(here, steps, is_rooted=is_rooted)

    def _step(self, *, is_deep: bool) -> _Step:
        axis = "@" if self.next == "@" else "child"
        if axis == "@":
            self._take()
        name = self._take()
        if name not in (".", "..", "*") and not (name and self._tokens[self._at - 1][0] == "name"):
            raise PathUnknown(f"expected a step, found {name!r}" if name else "expected a step, found the end")
        if self.next == "(":
            self._take()
            self._expect(")")
            name += "()"
            if name not in _KINDS:
                raise PathUnknown(f"no step is called {name}")
        predicates: List[Expression] = []
        while self.next == "[":
            self._take()
            predicates.append(self.either())
            self._expect("]")
        return _Step(axis, name, is_deep, predicates)


@dataclass(frozen=True)
class _Step:
    axis: str
    name: str
    is_deep: bool
    predicates: Sequence[Expression]

    def nodes(self, node: Node, visits: List[int]) -> List[Node]:
        found = [other for other in self._reached(node, visits) if self._fits(other)]
        for predicate in self.predicates:
            size = len(found)
            found = [
                other
                for place, other in enumerate(found, 1)
                if _is_true(predicate(_Here(other, place, size, visits)), place)
            ]
        return found

    def _reached(self, node: Node, visits: List[int]) -> Iterator[Node]:
        reached: List[Node]
        if self.name == ".":
            reached = [node]
        elif self.name == "..":
            owner = node.owner
            reached = [owner] if owner is not None else []
        elif not isinstance(node, Element):
            reached = []
        else:
            reached = [*node.attributes.values()] if self.axis == "@" else [*node.children]
        visits[0] += 1 + len(reached)
        if visits[0] > MAX_VISITS:
            raise PathTooCostly(f"looks at over {MAX_VISITS} nodes")
        return iter(reached)

    def _fits(self, node: Node) -> bool:
        if self.name in (".", ".."):
            return True
        if isinstance(node, Text):
            return node.kind in _KINDS.get(self.name, ())
        if self.name in ("*", "node()"):
            return True
        return node.name.startswith(self.name[:-1]) if self.name.endswith(":*") else node.name == self.name


def _walked(here: _Here, steps: Sequence[_Step], *, is_rooted: bool) -> List[Node]:
    start = here.node
    while is_rooted and start.owner is not None:
        start = start.owner
    nodes: List[Node] = [start]
    for step in steps:
        found: Dict[int, Node] = {}
        for node in nodes:
            for origin in _all_below(node, here.visits) if step.is_deep else (node,):
                for other in step.nodes(origin, here.visits):
                    found[id(other)] = other
        nodes = list(found.values())
    return nodes


def _all_below(node: Node, visits: List[int]) -> Iterator[Node]:
    left = [node]
    while left:
        other = left.pop()
        visits[0] += 1
        yield other
        if isinstance(other, Element):
            left += reversed(list(other.elements()))


def _is_true(value: Value, place: int = 0) -> bool:
    if isinstance(value, float) and place:
        return value == place
    return bool(value)


def _text(value: Value) -> str:
    if isinstance(value, list):
        return _content(value[0]) if value else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value:g}"


def _content(node: Node) -> str:
    return node.value() if isinstance(node, Element) else node.value


def _number(value: Value) -> float:
    try:
        return float(value if isinstance(value, (bool, float)) else _text(value).strip())
    except ValueError:
        return float("nan")


def _either(left: Expression, right: Expression) -> Expression:
    return lambda here: _is_true(left(here)) or _is_true(right(here))


def _both(left: Expression, right: Expression) -> Expression:
    return lambda here: _is_true(left(here)) and _is_true(right(here))


_COMPARISONS: Dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def _compared(left: Expression, compare: Callable[[Any, Any], bool], right: Expression) -> Expression:
    """Nodes compare if any of them does; numbers as numbers, all else as text, and by size only as numbers."""
    is_by_size = compare(0, 1) != compare(1, 0)

    def holds(here: _Here) -> bool:
        first, second = left(here), right(here)
        if isinstance(first, bool) or isinstance(second, bool):
            return compare(_is_true(first), _is_true(second))
        is_numeric = is_by_size or isinstance(first, float) or isinstance(second, float)
        read: Callable[[Value], Any] = _number if is_numeric else _text
        ones = [_content(node) for node in first] if isinstance(first, list) else [first]
        others = [_content(node) for node in second] if isinstance(second, list) else [second]
        here.visits[0] += len(ones) * len(others)
        if here.visits[0] > MAX_VISITS:
            raise PathTooCostly(f"looks at over {MAX_VISITS} nodes")
        return any(compare(read(one), read(other)) for one in ones for other in others)

    return holds


def _name(here: _Here, arguments: List[Value]) -> str:
    nodes = arguments[0] if arguments else [here.node]
    node = nodes[0] if isinstance(nodes, list) and nodes else None
    return node.name if isinstance(node, (Element, Attribute)) else ""


def _or_here(here: _Here, arguments: List[Value]) -> str:
    return _text(arguments[0]) if arguments else _content(here.node)


# What each function gives, and how many arguments it takes at least and at most.
_FUNCTIONS: Dict[str, Tuple[Callable[[_Here, List[Value]], Value], int, int]] = {
    "not": (lambda _, a: not _is_true(a[0]), 1, 1),
    "true": (lambda _, _a: True, 0, 0),
    "false": (lambda _, _a: False, 0, 0),
    "position": (lambda here, _a: float(here.position), 0, 0),
    "last": (lambda here, _a: float(here.size), 0, 0),
    "count": (lambda _, a: float(len(a[0])) if isinstance(a[0], list) else 0.0, 1, 1),
    "name": (_name, 0, 1),
    "local-name": (lambda here, a: _name(here, a).rpartition(":")[2], 0, 1),
    "contains": (lambda _, a: _text(a[1]) in _text(a[0]), 2, 2),
    "starts-with": (lambda _, a: _text(a[0]).startswith(_text(a[1])), 2, 2),
    "string": (_or_here, 0, 1),
    "normalize-space": (lambda here, a: " ".join(_or_here(here, a).split()), 0, 1),
    "string-length": (lambda here, a: float(len(_or_here(here, a))), 0, 1),
    "concat": (lambda _, a: "".join(map(_text, a)), 2, 20),
}
