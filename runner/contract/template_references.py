"""PURE. Which names a template refers to, as far as its text says; a loop's own variable is none."""

from __future__ import annotations

from typing import FrozenSet, List, Sequence, Union

from runner.contract.template_names import joined
from runner.contract.template_tree import Calculation, Each, Expression, If, Node, Path, Reference, Text


def names_in(nodes: Sequence[Node], found: List[str], loops: FrozenSet[str]) -> None:
    """Append the names in the order of the text."""
    for node in nodes:
        if isinstance(node, Reference):
            _of_expression(node.expression, found, loops)
        elif isinstance(node, Calculation):
            for part in node.program:
                if isinstance(part, Path):
                    _of_path(part, found, loops)
        elif isinstance(node, If):
            for branch in node.branches:
                if branch.condition is not None:
                    _of_expression(branch.condition.left, found, loops)
                    _of_expression(branch.condition.right, found, loops)
                names_in(branch.body, found, loops)
        elif isinstance(node, Each):
            _of_path(node.collection, found, loops)
            names_in(node.body, found, loops | {node.variable.casefold()})
        else:
            assert isinstance(node, Text)


def _of_expression(expression: Union[str, Expression], found: List[str], loops: FrozenSet[str]) -> None:
    if isinstance(expression, str):
        return
    if expression.path is not None:
        _of_path(expression.path, found, loops)
    for call in expression.filters:
        for option in call.options:
            if isinstance(option, Reference):
                _of_expression(option.expression, found, loops)


def _of_path(path: Path, found: List[str], loops: FrozenSet[str]) -> None:
    inner = [part for step in path.steps for part in step.parts if isinstance(part, Reference)]
    for reference in inner:
        _of_expression(reference.expression, found, loops)
    first = path.steps[0].parts[0]
    if not inner and isinstance(first, str) and first.casefold() not in loops:
        found.append(joined((step.is_index, "".join(map(str, step.parts))) for step in path.steps))
