"""The log of a task: lines numbered from 1 without holes, in blocks that are compressed, then sealed.

    block = seal("content", zstd(JSON [[at…], [level…], [text…]]))     its first line, step and target stay readable

Written in bulk inside the transaction of what it tells; read by the API, the portal's stream and the commands.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import zstandard

from hub.orchestrator.squeezing import squeeze_log
from hub.storage.models import LogBlock, Task, new_row_id
from hub.storage.prepared import Prepared, hole
from hub.storage.vault import Purpose, Vault

BLOCK_LINES_MAX = 4_000
BLOCK_CHARS_MAX = 1024 * 1024
LIMIT_MAX = 1_000
# A search through a long log answers in pages: so many blocks a page, whether they held a match or not.
_BLOCKS_A_READ = 64
_PLAIN_MAX = 64 * 1024 * 1024

Row = dict[str, Any]

_RESERVE = Prepared(
    lambda: (
        Task.update(log_lines=Task.log_lines + hole("count")).where(Task.id == hole("task")).returning(Task.log_lines)
    )
)
_COLUMNS = (
    "id", "task", "first_line", "lines", "first_at", "last_at", "step", "target", "job", "bytes_plain", "sealed",
)  # fmt: skip
_BLOCK = Prepared(lambda: LogBlock.insert({name: hole(name) for name in _COLUMNS}))


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line as it is read. `step` and `target` are names, "" for the task's own words."""

    seq: int
    at: int
    step: str
    target: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of one task to write, from one place; three columns of equal length."""

    task: str
    at: Sequence[int]
    levels: Sequence[str]
    texts: Sequence[str]
    step: str = ""
    target: str = ""
    job: str | None = None


def append(vault: Vault, pieces: Iterable[Lines]) -> None:
    """Write lines in their order; inside `write_tx`."""
    store(prepare(vault, pieces))


def prepare(vault: Vault, pieces: Iterable[Lines]) -> list[Row]:
    """Blocks without their numbers: what takes time, outside of the transaction."""
    return [_row(vault, part) for piece in pieces if piece.texts for part in _blocks(piece)]


def store(rows: Sequence[Row]) -> None:
    """Number prepared blocks and write them, in their order; inside `write_tx`."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["task"]] = counts.get(row["task"], 0) + row["lines"]
    _insert(rows, {task: _reserve(task, count) for task, count in sorted(counts.items())})


def store_first(rows: Sequence[Row], task: str) -> int:
    """Write the first blocks of a task; inside `write_tx`. How many lines they are: the task's row is to say it."""
    _insert(rows, {task: 1})
    return sum(row["lines"] for row in rows)


def read(
    vault: Vault,
    task_id: str,
    *,
    after: int = 0,
    limit: int = LIMIT_MAX,
    step: str | None = None,
    target: str | None = None,
    level: str | None = None,
    q: str | None = None,
) -> tuple[list[LogLine], int | None]:
    """Lines behind a number.

    Args:
        vault: One that holds `content`.
        task_id: Whose log.
        after: The number of the last line seen; 0 for none.
        limit: At most so many lines, up to LIMIT_MAX.
        step: Its name; None for all and the task's own words.
        target: Alike.
        level: Alike.
        q: Lines that contain this text, in any case.

    Returns:
        The lines, and the number to go on after, None where there is nothing more at present. With a filter there may
        be more to come although no line is given.
    """
    wanted = min(max(limit, 1), LIMIT_MAX)
    needle = q.casefold() if q else None
    found: list[LogLine] = []
    scanned = 0
    for block in _blocks_after(task_id, after, step, target):
        for line in _open(vault, block):
            if line.seq <= after or (level and line.level != level) or (needle and needle not in line.text.casefold()):
                continue
            if len(found) == wanted:
                return found, found[-1].seq
            found.append(line)
        scanned += 1
        if scanned == _BLOCKS_A_READ:
            return found, block.first_line + block.lines - 1
    return found, None


def last_line(task_id: str) -> int:
    """The number of the newest line, 0 for none."""
    row = Task.select(Task.log_lines).where(Task.id == task_id).tuples().first()
    return int(row[0]) if row else 0


def _reserve(task: str, count: int) -> int:
    """The number of the first of so many new lines."""
    ((last,),) = _RESERVE.tuples(task=task, count=count)
    return int(last) - count + 1


def _insert(rows: Sequence[Row], next_line: dict[str, int]) -> None:
    for row in rows:
        row["first_line"] = next_line[row["task"]]
        next_line[row["task"]] += row["lines"]
    _BLOCK.run_each(rows)


def _blocks(piece: Lines) -> Iterator[Lines]:
    start, size = 0, 0
    for position, text in enumerate(piece.texts):
        if position > start and (position - start == BLOCK_LINES_MAX or size + len(text) > BLOCK_CHARS_MAX):
            yield _slice(piece, start, position)
            start, size = position, 0
        size += len(text)
    yield _slice(piece, start, len(piece.texts))


def _slice(piece: Lines, start: int, end: int) -> Lines:
    if start == 0 and end == len(piece.texts):
        return piece
    cut = slice(start, end)
    return Lines(piece.task, piece.at[cut], piece.levels[cut], piece.texts[cut], piece.step, piece.target, piece.job)


def _row(vault: Vault, part: Lines) -> Row:
    block_id = new_row_id()
    plain = json.dumps([list(part.at), list(part.levels), list(part.texts)], separators=(",", ":")).encode("ascii")
    squeezed = squeeze_log(plain)
    return {
        "id": block_id,
        "task": part.task,
        "lines": len(part.texts),
        "first_at": part.at[0],
        "last_at": part.at[-1],
        "step": part.step,
        "target": part.target,
        "job": part.job,
        "bytes_plain": len(plain),
        "sealed": vault.seal_block(Purpose.CONTENT, ("log", part.task, block_id), squeezed),
    }


def _blocks_after(task_id: str, after: int, step: str | None, target: str | None) -> Iterator[LogBlock]:
    # A block has at most BLOCK_LINES_MAX lines, so the index finds the first one wanted without reading all before it.
    query = LogBlock.select().where(
        LogBlock.task == task_id,
        LogBlock.first_line > after - BLOCK_LINES_MAX,
        LogBlock.first_line + LogBlock.lines > after + 1,
    )
    if step is not None:
        query = query.where(LogBlock.step == step)
    if target is not None:
        query = query.where(LogBlock.target == target)
    blocks: Iterator[LogBlock] = query.order_by(LogBlock.first_line).limit(_BLOCKS_A_READ).iterator()
    return blocks


def _open(vault: Vault, block: LogBlock) -> Iterator[LogLine]:
    squeezed = vault.open_block(Purpose.CONTENT, ("log", block.task, block.id), block.sealed)
    plain = zstandard.ZstdDecompressor().decompress(squeezed, max_output_size=_PLAIN_MAX)
    for offset, (at, level, text) in enumerate(zip(*json.loads(plain), strict=True)):
        yield LogLine(block.first_line + offset, at, block.step, block.target, level, text)
