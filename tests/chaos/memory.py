"""How the memory of each process grows while it lives: its resident set, looked at every few seconds."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

_EVERY_S = 5.0
# A process grows while it begins.
_BEGINNING = 0.3


@dataclass(frozen=True, slots=True)
class Growth:
    """Of the life of one process that was looked at longest. `slope` in bytes a minute, None where it was too short."""

    name: str
    lived_s: float
    first_bytes: int
    last_bytes: int
    most_bytes: int
    slope: float | None


@dataclass
class Memory:
    """Samples by name and life."""

    samples: dict[tuple[str, float], list[tuple[float, int]]] = field(default_factory=dict)

    @contextmanager
    def watching(self, processes: Callable[[], Mapping[str, psutil.Process]]) -> Iterator[None]:
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(_EVERY_S):
                self.look(processes())

        thread = threading.Thread(target=watch, name="memory")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)

    def look(self, processes: Mapping[str, psutil.Process]) -> None:
        for name, process in processes.items():
            with contextlib.suppress(psutil.Error):
                # The portal is a process with workers below it.
                all_of_it = [process, *(process.children() if name == "portal" else [])]
                size = sum(one.memory_info().rss for one in all_of_it)
                self.samples.setdefault((name, process.create_time()), []).append((time.monotonic(), size))

    def growths(self) -> list[Growth]:
        """Of each name the longest life."""
        longest: dict[str, list[tuple[float, int]]] = {}
        for (name, _), samples in self.samples.items():
            known = longest.get(name, [(0.0, 0)])
            if samples[-1][0] - samples[0][0] >= known[-1][0] - known[0][0]:
                longest[name] = samples
        return [_growth(name, samples) for name, samples in sorted(longest.items())]


def _growth(name: str, samples: list[tuple[float, int]]) -> Growth:
    sizes = [size for _, size in samples]
    steady = samples[int(len(samples) * _BEGINNING) :]
    lived_s = samples[-1][0] - samples[0][0]
    return Growth(name, lived_s, sizes[0], sizes[-1], max(sizes), slope(steady) if len(steady) >= 10 else None)


def slope(samples: list[tuple[float, int]]) -> float:
    """Bytes a minute, by least squares."""
    middle = sum(at for at, _ in samples) / len(samples)
    mean = sum(size for _, size in samples) / len(samples)
    spread = sum((at - middle) ** 2 for at, _ in samples)
    return 60 * sum((at - middle) * (size - mean) for at, size in samples) / spread if spread else 0.0
