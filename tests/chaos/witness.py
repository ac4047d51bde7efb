"""The script itself says in a file that it started and that it ended, with its job's id: nobody in between may err.

One write of one short line to a file opened for appending is whole or not there, whoever else writes.
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

LINES = 3
SCRIPT = """
echo "start $MANYARM_JOB" >> {witness}
for i in $(seq 1 {lines}); do echo "line $i of $MANYARM_JOB"; sleep {pause_s}; done
echo "end $MANYARM_JOB" >> {witness}
"""


def script(witness: Path, pause_s: float) -> str:
    """What real targets run."""
    return SCRIPT.format(witness=witness, lines=LINES, pause_s=pause_s)


def printed_by(job: str) -> tuple[str, ...]:
    """What a whole run prints."""
    return tuple(f"line {number} of {job}" for number in range(1, LINES + 1))


@dataclass(frozen=True, slots=True)
class Witness:
    """The file; anybody may write to it."""

    path: Path

    def make(self) -> None:
        self.path.touch()
        self.path.chmod(0o666)

    def say(self, word: str, job: str) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, f"{word} {job}\n".encode())
        finally:
            os.close(descriptor)

    def seen(self) -> dict[str, Counter[str]]:
        """How often each job said `start` and `end`."""
        found: dict[str, Counter[str]] = {}
        for line in self.path.read_text().splitlines():
            word, job = line.split()
            found.setdefault(job, Counter())[word] += 1
        return found
