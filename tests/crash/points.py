"""The catalogue of crash points: cases/points.toml, one row for each way in which a point is tried."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

_FILE = Path(__file__).parent / "cases/points.toml"


@dataclass(frozen=True, slots=True)
class Row:
    """One trial of one point.

    Attributes:
        point: Its name, and with `:n` the passing at which it ends the process.
        process: Which one ends; the test file of that process tries it.
        amid: What goes on meanwhile.
        ends: The states, or the words, one of which the test must find in the end.
        starts: How often the script may have started.
        seldom: Tried by `make chaos` alone.
    """

    point: str
    process: str
    amid: str
    ends: tuple[str, ...]
    starts: tuple[int, ...]
    seldom: bool

    @property
    def name(self) -> str:
        return self.point.partition(":")[0]


def rows() -> list[Row]:
    found = tomllib.loads(_FILE.read_text(encoding="utf-8"))["point"]
    return [
        Row(
            point=row["at"],
            process=row["process"],
            amid=row["amid"],
            ends=tuple(row["ends"]),
            starts=tuple(row.get("starts", [1])),
            seldom=row.get("seldom", False),
        )
        for row in found
    ]


def trials(process: str) -> list[object]:
    """The rows of a process, as parameters."""
    return [
        pytest.param(row, id=f"{row.amid}-{row.point}", marks=[pytest.mark.chaos] if row.seldom else [])
        for row in rows()
        if row.process == process
    ]
