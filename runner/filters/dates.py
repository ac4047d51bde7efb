"""Filters for dates: what time it is, and so much later."""

from __future__ import annotations

import calendar
from datetime import timedelta, timezone
from typing import Callable

from runner.filters.call import Call, Filter, Refused
from runner.filters.date_text import parse_date, write_date


def now_date(call: Call) -> str:
    """The time here, without its zone, as Octostache has it."""
    _begins(call)
    return write_date(call.clock().replace(tzinfo=None), call.option(0, "O"))


def now_date_utc(call: Call) -> str:
    _begins(call)
    return write_date(call.clock().astimezone(timezone.utc), call.option(0, "O"))


def _begins(call: Call) -> None:
    if call.text is not None:
        raise Refused("it stands at the head of its chain and takes no value: #{ | NowDate}")


def _later(**one: float) -> Callable[[Call], str]:
    unit = timedelta(**one)

    def function(call: Call) -> str:
        try:
            return write_date(parse_date(call.value) + _amount(call) * unit, "O")
        except (OverflowError, ValueError) as error:
            raise Refused("the result is no date") from error

    return function


def _amount(call: Call) -> float:
    try:
        return float(call.option(0)[:40])
    except ValueError as error:
        raise Refused("its option is no number") from error


def add_months(call: Call) -> str:
    """Months have different lengths: the 31st becomes the last of a shorter one."""
    amount = _amount(call)
    if not amount.is_integer() or abs(amount) > 120_000:
        raise Refused("its option is no number of months")
    date = parse_date(call.value)
    year, month = divmod(date.year * 12 + date.month - 1 + int(amount), 12)
    if not 1 <= year <= 9999:
        raise Refused("the result is no date")
    day = min(date.day, calendar.monthrange(year, month + 1)[1])
    return write_date(date.replace(year=year, month=month + 1, day=day), "O")


FILTERS = {
    "NowDate": Filter(now_date, 0, 1, alone=True),
    "NowDateUtc": Filter(now_date_utc, 0, 1, alone=True),
    "AddSeconds": Filter(_later(seconds=1), 1, 1),
    "AddMinutes": Filter(_later(minutes=1), 1, 1),
    "AddHours": Filter(_later(hours=1), 1, 1),
    "AddDays": Filter(_later(days=1), 1, 1),
    "AddWeeks": Filter(_later(weeks=1), 1, 1),
    "AddMonths": Filter(add_months, 1, 1),
}
