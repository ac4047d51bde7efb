"""What would change in files, told on the log: a line for each file, its unified diff, and an event for programs.

    would change settings.json: +1 -1
    --- a/settings.json
    +++ b/settings.json
    @@ -1,3 +1,3 @@

A file that is no text, or too long, is named and not shown. The log stays readable: long lines are cut around what
changes in them, and there is an end to the lines of a file and of a job.
"""

from __future__ import annotations

import codecs
from dataclasses import replace
from typing import Any, Dict, List, Sequence, Tuple

from runner.channel import WorkerChannel
from runner.contract.masking import Patterns, mask_text
from runner.deployment import RunningDeployment
from runner.differences import Change, changes, unified
from runner.job_variables import variables_of
from runner.secret_traces import HIDDEN, stand_ins, without_traces

BYTES_OF_A_FILE = 4 * 1024**2
LINES_OF_A_FILE = 1_000
LINES_OF_A_JOB = 10_000
LINE_CHARS = 400
_CHARS_BEFORE = 60
_UTF_16 = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class FileChanges:
    """Tells of one file after the other, and keeps count."""

    def __init__(self, deployment: RunningDeployment) -> None:
        self._deployment = deployment
        # Here and not by the supervisor alone: behind a plus at each line, a secret of several lines is not itself.
        self._known = Patterns(secrets_of(deployment).values())
        self._lines_left = LINES_OF_A_JOB
        self.count = 0

    def tell(
        self,
        name: str,
        before: bytes | None,
        after: bytes | None,
        *,
        beside: bytes | None = None,
        private: bool = False,
    ) -> bool:
        """Tell what is different; returns whether anything is.

        Args:
            name: Of the file, as people know it.
            before: What is in it; None where it is not there.
            after: What would be in it; None where it would not be there any more.
            beside: The same as `after`, made by a deployment `without_secrets`: where they differ nothing is shown.
            private: What goes away is not shown: it may hold a secret of former days, which nobody knows to mask.
        """
        if before == after:
            return False
        self.count += 1
        verb = "make" if before is None else "remove" if after is None else "change"
        old, new = lines_of(before or b""), lines_of(after or b"")
        size = f"{len(before or b'')} bytes become {len(after or b'')}"
        if old is None or new is None:
            self._name(verb, name, f"binary, {size}")
        elif max(len(before or b""), len(after or b"")) > BYTES_OF_A_FILE:
            self._name(verb, name, f"too long to be shown, {size}")
        else:
            shown = new if beside in (None, after) else without_traces(new, lines_of(beside or b"") or [])
            was = _without_former(old, new, shown) if private else old
            self._show(verb, name, self._masked(was), self._masked(shown))
        return True

    def _masked(self, lines: Sequence[str]) -> List[str]:
        return mask_text("\n".join(lines), self._known).split("\n") if lines else []

    def _name(self, verb: str, name: str, words: str, added: int = 0, removed: int = 0) -> None:
        self._deployment.channel.event({"event": "file", "path": name, "added": added, "removed": removed})
        self._deployment.say(f"would {verb} {name}: {words}")

    def _show(self, verb: str, name: str, old: List[str], new: List[str]) -> None:
        found = changes(old, new)
        if not found:
            self._name(verb, name, "only where a secret stands")
            return
        added = sum(change.new_stop - change.new_start for change in found)
        removed = sum(change.old_stop - change.old_start for change in found)
        lines, left_out = self._hunks(*_shortened(old, new, found), found)
        self._lines_left -= len(lines)
        more = f", {left_out} places are not shown" if left_out else ""
        self._name(verb, name, f"+{added} -{removed}{more}", added, removed)
        if lines:
            path = name.lstrip("/")
            heads = [
                f"--- {'/dev/null' if verb == 'make' else f'a/{path}'}",
                f"+++ {'/dev/null' if verb == 'remove' else f'b/{path}'}",
            ]
            self._deployment.say("\n".join([*heads, *(line.rstrip("\r") for line in lines)]))

    def _hunks(self, old: List[str], new: List[str], found: List[Change]) -> Tuple[List[str], int]:
        """As many as there is room for, and how many are left out."""
        lines: List[str] = []
        left_out = 0
        for hunk in unified(old, new, found):
            if left_out or len(lines) + len(hunk) > min(LINES_OF_A_FILE, self._lines_left):
                left_out += 1
            else:
                lines += hunk
        return lines, left_out


def lines_of(content: bytes) -> List[str] | None:
    """The lines of a file without their line feeds; None where it is no text."""
    if not content:
        return []
    encoding, start = "utf-8", len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    for mark, name in _UTF_16:
        if content.startswith(mark):
            encoding, start = name, len(mark)
    try:
        text = content[start:].decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text.removesuffix("\n").split("\n")


class QuietChannel(WorkerChannel):
    """Heard by nobody: for what is done a second time."""

    def __init__(self) -> None:
        """There is no other end."""

    def _send(self, body: Dict[str, Any]) -> None:
        del body


def without_secrets(deployment: RunningDeployment) -> RunningDeployment:
    """The same deployment with stand-ins for its secrets, and heard by nobody; it lacks values that were set since."""
    variables = variables_of(deployment.job_file, stand_ins(secrets_of(deployment)))
    return replace(deployment, variables=variables, channel=QuietChannel())


def secrets_of(deployment: RunningDeployment) -> Dict[str, str]:
    """The values of the job's secrets, by name."""
    found = ((name, deployment.variables.value(name)) for name in deployment.job.secret_names)
    return {name: value for name, value in found if value}


def _without_former(old: Sequence[str], new: Sequence[str], shown: Sequence[str]) -> List[str]:
    """The old lines that are still there, as they are shown of the new ones, and no other."""
    lines: List[str] = []
    at = 0
    for change in changes(old, new):
        lines += shown[at : change.new_start]
        lines += [HIDDEN] * (change.old_stop - change.old_start)
        at = change.new_stop
    return [*lines, *shown[at:]]


def _shortened(old: Sequence[str], new: Sequence[str], found: Sequence[Change]) -> Tuple[List[str], List[str]]:
    """Long lines cut; two that take each other's place are cut around what is different in them."""
    olds, news = [_cut(line, 0) for line in old], [_cut(line, 0) for line in new]
    for change in found:
        if change.old_stop - change.old_start != change.new_stop - change.new_start:
            continue
        for i, j in zip(range(change.old_start, change.old_stop), range(change.new_start, change.new_stop)):
            length = min(len(old[i]), len(new[j]))
            if max(len(old[i]), len(new[j])) > LINE_CHARS:
                same = next((n for n in range(length) if old[i][n] != new[j][n]), length)
                start = max(0, same - _CHARS_BEFORE)
                olds[i], news[j] = _cut(old[i], start), _cut(new[j], start)
    return olds, news


def _cut(line: str, start: int) -> str:
    if len(line) <= LINE_CHARS:
        return line
    stop = start + LINE_CHARS
    return f"{'…' if start else ''}{line[start:stop]}{'…' if stop < len(line) else ''}"
