"""PURE. Walks the tree of a template and writes its text, within limits of depth, size and work.

Three kinds of value stand apart. A variable's own text is a template and is expanded when it is asked for. What a
target said, and a secret, is data for ever (`verbatim`). What an expansion, a filter, a JSON value or a loop gave is
data too: nothing is ever expanded twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Collection, Dict, Iterable, List, NoReturn, Sequence, Tuple, Type, Union

from runner.contract import template_data as data
from runner.contract.errors import (
    FilterRefused,
    TemplateError,
    TemplateSyntax,
    TemplateTooDeep,
    TemplateTooLarge,
    UnknownFilter,
    UnknownVariable,
    shown,
)
from runner.contract.template_names import Branch, Found, Names, is_one_index, joined, nearest
from runner.contract.template_parser import parse, read_nodes
from runner.contract.template_tags import NAME_MAX_CHARS
from runner.contract.template_tree import (
    Calculation,
    Condition,
    Each,
    Expression,
    FilterCall,
    If,
    Node,
    Path,
    Reference,
    Text,
    spelled,
)
from runner.filters.call import Call, Clock, Refused, TooMuch

DEPTH_MAX = 20
NESTED_MAX = 60
STEPS_MAX = 1_000_000
ITEMS_MAX = 100_000
# A tag that is read takes memory whether it is ever reached or not.
_STEPS_PER_TAG = 4
WORK_PER_LIMIT = 8
WARNINGS_MAX = 100
# Pieces that are joined at once: a short one takes fifty bytes beside its own.
_PIECES = 4096
# Trees and texts of values that are kept for when they are asked for again.
_KEPT_TAGS, _KEPT_CHARS = 20_000, 4 * 1024**2
_LOOP_NAMES = ("Octopus.Template.Each.", "Manyarm.Template.Each.")


@dataclass(frozen=True)
class Data:
    """A text or JSON value that is final; `key` where it is a member of an object."""

    value: Any
    key: str | None = None


Item = Union[Branch, Data]


@dataclass(frozen=True)
class Turn:
    """One turn of a loop: what its variable is, and what the loop says of itself."""

    variable: str
    item: Item
    own: Dict[str, str]


@dataclass(frozen=True)
class Place:
    """Where the evaluation stands: the text it reads, the variables that led there, the loops around it."""

    source: str
    chain: Tuple[str, ...] = ()
    turns: Tuple[Turn, ...] = ()
    nested: int = 0


class Output:
    """A text that is being written, in pieces."""

    def __init__(self) -> None:
        self._joined: List[str] = []
        self._pieces: List[str] = []
        self.chars = 0

    def add(self, piece: str) -> None:
        self.chars += len(piece)
        self._pieces.append(piece)
        if len(self._pieces) >= _PIECES:
            self._joined.append("".join(self._pieces))
            self._pieces.clear()

    def text(self) -> str:
        return "".join([*self._joined, *self._pieces])


class Evaluation:
    def __init__(
        self,
        names: Names,
        *,
        warn: Callable[[str], None] | None,
        verbatim: Collection[str],
        limit: int,
        clock: Clock,
    ) -> None:
        self._names = names
        self._warn = warn
        self._verbatim = verbatim
        self._limit = limit
        self._clock = clock
        self._steps = STEPS_MAX
        self._work = WORK_PER_LIMIT * limit
        self._trees: Dict[str, Tuple[Node, ...]] = {}
        self._tree_tags = 0
        self._values: Dict[str, str] = {}
        self._value_chars = 0
        self._data: Dict[str, Any] = {}
        self._told: set[str] = set()
        self._origin = ("", 0)

    def expand(self, text: str, source: str) -> str:
        self._origin = (source, 0)
        place = Place(source)
        return self._written(read_nodes(text, source, self._tell if self._warn else None), place)

    def _written(self, nodes: Iterable[Node], place: Place) -> str:
        out = Output()
        self._write(nodes, place, out)
        return out.text()

    def _write(self, nodes: Iterable[Node], place: Place, out: Output) -> None:
        for node in nodes:
            if out.chars > self._limit:
                self._too_long(place, getattr(node, "line", 0))
            if isinstance(node, Text):
                piece = node.text
                self._spend(place, 0, len(piece))
                out.add(piece)
                continue
            line = getattr(node, "line", 0)
            if not place.chain and line:
                self._origin = (place.source, line)
            self._spend(place, line, 1)
            if isinstance(node, If):
                self._write_if(node, place, out)
            elif isinstance(node, Each):
                self._write_each(node, place, out)
            else:
                out.add(self._replacement(node, place))
        if out.chars > self._limit:
            self._too_long(place, 0)

    def _spend(self, place: Place, line: int, chars: int, steps: int = 1) -> None:
        self._steps -= steps
        self._work -= chars
        if self._steps < 0 or self._work < 0:
            self._refuse(
                TemplateTooLarge,
                place,
                line,
                f"the expanded text would pass {self._limit} characters, or take too long",
            )

    def _refuse(self, kind: Type[TemplateError], place: Place, line: int, sentence: str) -> NoReturn:
        raise kind(place.source, line or 1, sentence + self._asked_for(place))

    def _asked_for(self, place: Place) -> str:
        source, line = self._origin
        return f" (asked for by {source or 'the text'}:{line})" if place.chain and line else ""

    def _tell(self, sentence: str) -> None:
        if self._warn and sentence not in self._told and len(self._told) < WARNINGS_MAX:
            self._told.add(sentence)
            self._warn(sentence)

    def _replacement(self, node: Union[Reference, Calculation], place: Place) -> str:
        try:
            if isinstance(node, Calculation):
                return self._calculated(node, place)
            return self._text_of(node.expression, place, node.line)
        except (UnknownVariable, UnknownFilter, FilterRefused) as error:
            if self._warn is None:
                raise
            self._tell(f"{error}; it stays as it stands")
            self._spend(place, node.line, len(node.raw))
            return node.raw

    def _write_if(self, node: If, place: Place, out: Output) -> None:
        for branch in node.branches:
            if branch.condition is None or self._holds(branch.condition, place):
                self._write(branch.body, place, out)
                return

    def _write_each(self, node: Each, place: Place, out: Output) -> None:
        items = self._items(node, place)
        if place.nested >= NESTED_MAX:
            self._refuse(TemplateTooDeep, place, node.line, "loops and variables stand in one another too deep")
        for index, item in enumerate(items):
            told = {"Index": str(index), "First": str(index == 0), "Last": str(index == len(items) - 1)}
            own = {(prefix + name).casefold(): text for prefix in _LOOP_NAMES for name, text in told.items()}
            turn = Turn(node.variable.casefold(), item, own)
            self._spend(place, node.line, 1)
            self._write(node.body, Place(place.source, place.chain, (*place.turns, turn), place.nested + 1), out)

    def _items(self, node: Each, place: Place) -> List[Item]:
        found = self._find(node.collection, place, node.line)
        if found is None:
            name = shown(spelled(node.collection))
            self._tell(f"{place.source or 'line'}:{node.line}: nothing is named {name!r}, so its loop is empty")
            return []
        if isinstance(found, Branch) and found.declared is None:
            return list(found.items())
        value = self._item_text(found, place, node.line) if isinstance(found, Branch) else found.value
        try:
            members = data.items(self._read(value) if isinstance(value, str) else value)
        except data.NoData:
            text = data.written(value)
            if text.count(",") >= ITEMS_MAX:
                self._refuse(TemplateTooLarge, place, node.line, f"a loop would have over {ITEMS_MAX} turns")
            return [Data(part) for part in text.split(",")] if text else []
        return [Data(member, key) for key, member in members]

    def _holds(self, condition: Condition, place: Place) -> bool:
        left = self._tested(condition.left, place, condition.line)
        if condition.wants is None:
            return _is_true(left) != condition.negated
        right = condition.right
        wanted = right if isinstance(right, str) else self._tested(right, place, condition.line)
        return ((left == wanted) == condition.wants) != condition.negated

    def _tested(self, expression: Expression, place: Place, line: int) -> str:
        """The text that a condition looks at: a test may name what does not exist, that is what it is for."""
        self._spend(place, line, 1)
        if expression.path is not None and not expression.filters:
            found = self._find(expression.path, place, line)
            text = None if found is None else self._item_text(found, place, line)
            return text or ""
        try:
            return self._text_of(expression, place, line)
        except (UnknownVariable, UnknownFilter, FilterRefused) as error:
            if self._warn is None:
                raise
            self._tell(f"{error}; the condition takes it as empty")
            return ""

    def _text_of(self, expression: Expression, place: Place, line: int) -> str:
        text: str | None = None
        if expression.path is not None:
            found = self._find(expression.path, place, line)
            text = None if found is None else self._item_text(found, place, line)
            if text is None:
                self._unknown(expression.path, place, line)
            self._spend(place, line, len(text))
        for call in expression.filters:
            text = self._filtered(call, text, place, line)
        if text is None or len(text) > self._limit:
            self._too_long(place, line)
        return text

    def _too_long(self, place: Place, line: int) -> NoReturn:
        self._refuse(TemplateTooLarge, place, line, f"the expanded text would pass {self._limit} characters")

    def _unknown(self, path: Path, place: Place, line: int) -> NoReturn:
        # As the text spells it: a computed index may hold a secret, of which a message must not show a piece.
        computed = joined(self._steps_of(path, place, line) or ())
        error = UnknownVariable(
            place.source, line, spelled(path), self._names.nearest(computed) if len(self._told) < WARNINGS_MAX else ()
        )
        error.args = (str(error) + self._asked_for(place),)
        raise error

    def _filtered(self, call: FilterCall, text: str | None, place: Place, line: int) -> str:
        from runner.filters import filter_named, filter_names  # late: many templates use none

        spec = filter_named(call.name)
        if spec is None:
            raise UnknownFilter(place.source, line, call.name, nearest(call.name, filter_names()))
        options = tuple(
            option if isinstance(option, str) else self._text_of(option.expression, place, line)
            for option in call.options
        )
        self._spend(place, line, 64 + len(text or "") + sum(map(len, options)))
        try:
            result = spec.apply(
                Call(call.name, text, options, self._clock, self._limit, lambda n: self._spend(place, line, 0, n))
            )
        except Refused as error:
            self._refuse(FilterRefused, place, line, f"{call.name}: {error}")
        except TooMuch:
            self._refuse(TemplateTooLarge, place, line, f"{call.name} would pass {self._limit} characters")
        self._spend(place, line, len(result))
        return result

    def _calculated(self, node: Calculation, place: Place) -> str:
        from runner.contract.template_numbers import calculate  # late: few templates calculate

        def number(path: Path) -> str:
            found = self._find(path, place, node.line)
            text = None if found is None else self._item_text(found, place, node.line)
            if text is None:
                self._unknown(path, place, node.line)
            return text

        try:
            return calculate([number(part) if isinstance(part, Path) else part for part in node.program])
        except Refused as error:
            self._refuse(FilterRefused, place, node.line, f"{node.raw[:80]!a}: {error}")

    def _steps_of(self, path: Path, place: Place, line: int) -> List[Found] | None:
        """The path with its indexes computed; None where one of them cannot be an index."""
        steps: List[Found] = []
        for step in path.steps:
            texts: List[str] = []
            for part in step.parts:
                if isinstance(part, str):
                    texts.append(part)
                    continue
                self._spend(place, line, 1)
                texts.append(self._text_of(part.expression, place, line))
            text = "".join(texts)
            if len(text) > NAME_MAX_CHARS:
                self._refuse(TemplateSyntax, place, line, f"a name has 1 to {NAME_MAX_CHARS} characters")
            if step.is_index and not is_one_index(text):
                return None
            steps.append((step.is_index, text))
        return steps

    def _find(self, path: Path, place: Place, line: int) -> Item | None:
        steps = self._steps_of(path, place, line)
        if steps is None:
            return None
        for turn in reversed(place.turns):
            own = turn.own.get(joined(steps).casefold())
            if own is not None:
                return Data(own)
            if steps[0][1].casefold() == turn.variable:
                found = self._below(turn.item, steps[1:], place, line)
                if found is not None:
                    return found
        return self._global(steps, place, line)

    def _below(self, item: Item, steps: Sequence[Found], place: Place, line: int) -> Item | None:
        if not steps:
            return item
        if isinstance(item, Branch):
            branch = item.walk(steps)
            if branch is not None:
                return branch
        if item.key is not None and not steps[0][0]:
            word = steps[0][1].casefold()
            if word == "key" and len(steps) == 1:
                return Data(item.key)
            if word == "value" and isinstance(item, Data):
                return self._walked(item.value, steps[1:])
        if isinstance(item, Branch):
            return self._walked(self._item_text(item, place, line) or "", steps) if item.declared else None
        return self._walked(item.value, steps)

    def _global(self, steps: Sequence[Found], place: Place, line: int) -> Item | None:
        declared = self._names.find(joined(steps))
        if declared is not None:
            return Branch(declared=declared)
        branch = self._names.branch(steps)
        if branch is not None:
            return branch
        for shorter in range(len(steps) - 1, 0, -1):
            declared = self._names.find(joined(steps[:shorter]))
            if declared is not None:
                if declared in place.chain:
                    return self._own_member(declared, steps[shorter:], place, line)
                text = self._value(declared, place, line)
                self._spend(place, line, 16)
                return self._walked(text, steps[shorter:])
        return None

    def _own_member(self, declared: str, steps: Sequence[Found], place: Place, line: int) -> Item | None:
        """A member that a JSON value refers to of itself; one that is a template again would have no end."""
        found = self._walked(self._names.value(declared), steps)
        if found is not None and "#{" in data.written(found.value):
            self._loops(declared, place, line)
        return found

    def _walked(self, value: Any, steps: Sequence[Found]) -> Data | None:
        try:
            return Data(data.walk(self._read(value) if isinstance(value, str) and steps else value, steps))
        except data.NoData:
            return None

    def _read(self, text: str) -> Any:
        """A JSON text, read once."""
        if text not in self._data:
            self._spend(Place(self._origin[0]), self._origin[1], len(text))
            self._data[text] = data.read(text)
        return self._data[text]

    def _item_text(self, item: Item, place: Place, line: int) -> str | None:
        if isinstance(item, Data):
            return data.written(item.value if item.key is None else item.key)
        return item.key if item.declared is None else self._value(item.declared, place, line)

    def _value(self, declared: str, place: Place, line: int) -> str:
        value = self._names.value(declared)
        if declared in self._verbatim or "#{" not in value:
            return value
        if declared in place.chain or len(place.chain) >= DEPTH_MAX or place.nested >= NESTED_MAX:
            self._loops(declared, place, line)
        # Within a loop a value may name the loop's variable, and is another one at each turn.
        if not place.turns and declared in self._values:
            return self._values[declared]
        source = f"variable {declared}"
        tree = self._trees.get(declared) or self._tree(declared, value, place, line)
        text = self._written(tree, Place(source, (*place.chain, declared), place.turns, place.nested + 1))
        self._value_chars += len(text)
        if not place.turns and self._value_chars <= _KEPT_CHARS:
            self._values[declared] = text
        return text

    def _tree(self, declared: str, value: str, place: Place, line: int) -> Tuple[Node, ...]:
        """Of a variable's value; kept, unless those that are kept are many already."""
        tags = value.count("#{")
        self._spend(place, line, len(value), _STEPS_PER_TAG * tags)
        tree = parse(value, f"variable {declared}", self._tell if self._warn else None)
        self._tree_tags += tags
        if self._tree_tags <= _KEPT_TAGS:
            self._trees[declared] = tree
        return tree

    def _loops(self, declared: str, place: Place, line: int) -> NoReturn:
        chain = " > ".join((*place.chain, declared))
        self._refuse(TemplateTooDeep, place, line, f"variables refer to one another: {chain}")


def _is_true(text: str) -> bool:
    return text not in {"", "0"} and text.strip().casefold() not in {"no", "false"}
