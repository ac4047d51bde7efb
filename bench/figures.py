"""Figures and how they are shown: medians, 95th percentiles, ratios to a floor of the same run, plain tables."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a table.

    Attributes:
        name: What was done.
        value: Median of the samples, in `unit`.
        ratios: To each floor of the same run, by the floor's name. What a ratio above 1 means, the table says.
    """

    name: str
    value: float
    unit: str
    p95: float | None = None
    samples: int = 1
    ratios: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target of the product and what this run says of it."""

    target: str
    measured: str
    met: bool


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    title: str
    figures: tuple[Figure, ...]
    verdicts: tuple[Verdict, ...] = ()
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def median(samples: Sequence[float]) -> float:
    return float(statistics.median(samples))


def p95(samples: Sequence[float]) -> float:
    """The smallest sample that 95 % of all do not exceed."""
    ordered = sorted(samples)
    return float(ordered[max(0, math.ceil(0.95 * len(ordered)) - 1)])


def timed(name: str, samples_s: Sequence[float], floors: Mapping[str, Sequence[float]] | None = None) -> Figure:
    """Times in milliseconds; each ratio is median to median: above 1 is slower than the floor."""
    ratios = {floor: median(samples_s) / median(other) for floor, other in (floors or {}).items()}
    return Figure(name, median(samples_s) * 1e3, "ms", p95(samples_s) * 1e3, len(samples_s), ratios)


def shown(table: Table) -> str:
    """The table as people read it."""
    floors = list(dict.fromkeys(name for figure in table.figures for name in figure.ratios))
    rows = [["", "median", "p95", *(f"÷ {name}" for name in floors), ""]]
    for figure in table.figures:
        tail = f"{_number(figure.p95)} {figure.unit}" if figure.p95 is not None else ""
        ratios = [f"{figure.ratios[name]:.2f}" if name in figure.ratios else "" for name in floors]
        rows.append([figure.name, f"{_number(figure.value)} {figure.unit}", tail, *ratios, figure.note])
    lines = [table.title, "", *aligned(rows)]
    lines += [""] if table.verdicts else []
    lines += [f"  {'met   ' if one.met else 'MISSED'}  {one.target}: {one.measured}" for one in table.verdicts]
    lines += ["", *(f"  {note}" for note in table.notes)] if table.notes else []
    return "\n".join(lines) + "\n"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names to the left, figures to the right, the last column to the left again."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    last = len(widths) - 1
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if column in {0, last} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
