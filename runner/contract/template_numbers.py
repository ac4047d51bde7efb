"""PURE. What `#{calc …}` computes, in the order of a stack machine."""

from __future__ import annotations

import math
from typing import Callable, Dict, List, Sequence, Union

from runner.filters.call import Refused


def calculate(program: Sequence[Union[float, str]]) -> str:
    """The result as text: a whole number has no point.

    Args:
        program: Numbers, the texts of variables that hold numbers, and operators.

    Raises:
        Refused: a text is no number, or there is no result.
    """
    stack: List[float] = []
    for part in program:
        if isinstance(part, str) and part in _OPERATIONS and len(stack) > 1:
            right, left = stack.pop(), stack.pop()
            stack.append(_result(part, left, right))
        else:
            stack.append(_number(part))
    return number_text(stack[-1])


def _number(part: Union[float, str]) -> float:
    try:
        number = float(part if isinstance(part, float) else part[:400])
    except ValueError as error:
        raise Refused("one of its values is no number") from error
    if not math.isfinite(number):
        raise Refused("one of its values is no number")
    return number


def _result(operator: str, left: float, right: float) -> float:
    if operator in "/%" and right == 0:
        raise Refused("it divides by zero")
    if operator == "%" and not (left.is_integer() and right.is_integer()):
        raise Refused("a remainder needs whole numbers")
    result = _OPERATIONS[operator](left, right)
    if not math.isfinite(result):
        raise Refused("the result is too large")
    return result


_OPERATIONS: Dict[str, Callable[[float, float], float]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "%": math.fmod,
}


def number_text(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number).upper()
