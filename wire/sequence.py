"""Which numbers of a session were received: a window of 1,024 that accepts each once. PURE.

The floor moves only over numbers that were all received, and only as far as a new number needs: so the last thousand
can still be recognised when the broker delivers them again, and nothing that is missing is ever passed over.
"""

from dataclasses import dataclass

from wire.errors import Code, Refused

WINDOW = 1024


@dataclass(frozen=True, slots=True)
class SequenceWindow:
    """`floor`: every number up to it was received. `seen`: bit i says that floor+1+i was received."""

    floor: int = 0
    seen: int = 0

    def accept(self, seq: int) -> tuple["SequenceWindow", bool]:
        """The window after this number, and whether it is the first time.

        Raises:
            Refused: ENV_SEQ, at or below the floor, or so far above that something missing would fall out.
        """
        if seq <= self.floor:
            raise Refused(Code.ENV_SEQ, f"number {seq} is not above the floor {self.floor}")
        window = self._moved_for(seq)
        bit = 1 << (seq - window.floor - 1)
        if window.seen & bit:
            return window, False
        return SequenceWindow(window.floor, window.seen | bit), True

    @property
    def highest(self) -> int:
        return self.floor + self.seen.bit_length()

    def _moved_for(self, seq: int) -> "SequenceWindow":
        steps = seq - self.floor - WINDOW
        if steps <= 0:
            return self
        passed = (1 << min(steps, WINDOW + 1)) - 1
        if self.seen & passed != passed:
            raise Refused(Code.ENV_SEQ, f"number {seq} is beyond the window above {self.floor}")
        return SequenceWindow(self.floor + steps, self.seen >> steps)
