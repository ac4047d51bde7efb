"""Format: numbers and dates by .NET's format strings, in the invariant culture."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Tuple

from runner.filters.call import Call, Filter, Refused
from runner.filters.date_text import parse_date, write_date

_NUMBER = re.compile(r"[+-]?[0-9][0-9,]{0,60}(?:\.[0-9]{0,60})?(?:[eE][+-]?[0-9]{1,2})?\Z", re.ASCII)
_STANDARD = re.compile(r"([A-Za-z])([0-9]{0,2})\Z", re.ASCII)
_CUSTOM = re.compile(r"""'([^']*)'|"([^"]*)"|\\(.)|(.)""", re.DOTALL)
_DATES = frozenset({"date", "datetime", "datetimeoffset"})
_WHOLE = frozenset({"int", "int32"})
_PLACES = {"C": 2, "F": 2, "N": 2, "P": 2, "E": 6}


def format_value(call: Call) -> str:
    """`Format FORMAT`, a number if the value is one, else a date; or `Format TYPE FORMAT`."""
    if len(call.options) == 1:
        if _NUMBER.match(call.value.strip()):
            return write_number(_decimal(call.value), call.options[0])
        return write_date(parse_date(call.value), call.options[0])
    kind = call.options[0].lower()
    if kind in _DATES:
        return write_date(parse_date(call.value), call.options[1])
    if kind not in _WHOLE | {"double", "decimal"}:
        raise Refused("there is no such type; it takes Int, Double, Decimal, Date and DateTimeOffset")
    number = _decimal(call.value)
    if kind in _WHOLE and number != number.to_integral_value():
        raise Refused("the text is no whole number")
    return write_number(number, call.options[1])


def _decimal(text: str) -> Decimal:
    if not _NUMBER.match(text.strip()):
        raise Refused("the text is no number")
    return Decimal(text.strip().replace(",", ""))


def write_number(number: Decimal, pattern: str) -> str:
    """A number in a standard (`C`, `D5`, `F2`, `N0`, `P1`, `X`, …) or custom (`#,##0.00`) format.

    Raises:
        Refused: there is no such format, or none for this number.
    """
    if not pattern or len(pattern) > 200:
        raise Refused("a number's format has 1 to 200 characters")
    with localcontext() as context:
        context.prec = 200
        try:
            standard = _STANDARD.match(pattern)
            return _standard(number, *standard.groups()) if standard else _custom(number, pattern)
        except InvalidOperation as error:
            raise Refused("the number is too large for its format") from error


def _standard(number: Decimal, letter: str, digits: str) -> str:
    kind = letter.upper()
    if kind in {"D", "X"}:
        if number != number.to_integral_value():
            raise Refused(f"{letter} is for whole numbers")
        if kind == "D":
            return f"{'-' if number < 0 else ''}{str(abs(int(number))).rjust(int(digits or 0), '0')}"
        text = f"{int(number) & 0xFFFFFFFF:x}" if number < 0 else f"{int(number):x}"
        return (text.upper() if letter == "X" else text).rjust(int(digits or 0), "0")
    if kind in {"G", "R"}:
        return f"{number.normalize():f}" if number else "0"
    if kind not in _PLACES:
        raise Refused("there is no such number format")
    places = int(digits) if digits else _PLACES[kind]
    if kind == "E":
        mantissa, _, exponent = f"{number:.{places}e}".partition("e")
        return f"{mantissa}{letter}{exponent[0]}{int(exponent[1:]):03}"
    fixed = _rounded(number * 100 if kind == "P" else number, places)
    text = f"{abs(fixed):{'' if kind == 'F' else ','}.{places}f}"
    sign = "-" if fixed < 0 else ""
    if kind == "C":
        return f"(¤{text})" if sign else f"¤{text}"
    return f"{sign}{text} %" if kind == "P" else sign + text


def _rounded(number: Decimal, places: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)


def _custom(number: Decimal, pattern: str) -> str:
    sections = pattern.split(";")
    if number < 0 and len(sections) > 1 and sections[1]:
        return _section(-number, sections[1])
    if number == 0 and len(sections) > 2:
        return _section(number, sections[2])
    text = _section(abs(number), sections[0])
    return f"-{text}" if number < 0 and any("1" <= c <= "9" for c in text) else text


def _section(number: Decimal, section: str) -> str:
    """One section of a custom format: its first and last digit places hold the number, the rest stands as it is."""
    tokens = [
        (literal, "") if literal is not None else ("", found.group(4))
        for found in _CUSTOM.finditer(section)
        for literal in [next((text for text in found.groups()[:3] if text is not None), None)]
    ]
    places = [at for at, (_, mark) in enumerate(tokens) if mark in {"0", "#"} and mark]
    if any(mark == "%" for _, mark in tokens):
        number *= 100
    if not places:
        return "".join(literal or mark for literal, mark in tokens)
    first, last = places[0], places[-1]
    inside = "".join(mark for _, mark in tokens[first : last + 1])
    before = "".join(literal or mark for literal, mark in tokens[:first])
    after = "".join(literal or mark for literal, mark in tokens[last + 1 :])
    if before.endswith("."):
        before, inside = before[:-1], "." + inside
    return before + _digits(number, inside) + after


def _digits(number: Decimal, inside: str) -> str:
    whole, _, fraction = inside.partition(".")
    least, most = _bounds(fraction)
    text = f"{_rounded(number, most):f}"
    integer, _, decimals = text.partition(".")
    kept = decimals[:least] + decimals[least:].rstrip("0")
    integer = integer.lstrip("0").rjust(
        whole.count("0") if "0" not in whole else len(whole[whole.index("0") :].replace(",", "")), "0"
    )
    if "," in whole and integer:
        integer = f"{int(integer):,}".rjust(len(integer), "0")
    return f"{integer}.{kept}" if kept else integer


def _bounds(fraction: str) -> Tuple[int, int]:
    """How many digits a fraction has at least and at most."""
    marks = fraction.replace(",", "")
    return marks.rfind("0") + 1, sum(mark in "0#" for mark in marks)


FILTERS = {"Format": Filter(format_value, 1, 2)}
