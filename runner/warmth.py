"""Having at hand, before there is a job, what a supervisor and its worker will use in its first milliseconds."""

from __future__ import annotations

import ctypes
from typing import Iterator, Tuple

_MADV_POPULATE_WRITE = 23


def warm_up() -> None:
    """Import what any step may need, and go once through what compiles or loads something at its first use."""
    import hashlib  # late: only a supervisor that stands by has the time

    from runner import catalogue, work  # late: the same
    from runner.contract import tar_reader, zip_reader  # late: the same
    from runner.contract.masking import Patterns  # late: the same
    from runner.job_folder import own_name  # late: the same
    from runner.scripts import bootstrap_text  # late: the same

    del hashlib, work, tar_reader, zip_reader
    for name in ("steps", "languages", "formats"):
        catalogue.entries(name)
    for language in catalogue.entries("languages"):
        for bootstrap in language.LANGUAGE.bootstrap:
            bootstrap_text(bootstrap)
    Patterns(["a text of many\nlines & 'signs'"])
    own_name()


def own_memory() -> None:
    """Make every page that a fork left shared our own, in one call for each stretch of memory.

    Else each page is copied when it is first written to, and to Python reading is writing: a supervisor and its worker
    would spend most of a short job's time in page faults. Where the kernel cannot do it (before Linux 5.14), they do.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for start, size in _writable():
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_POPULATE_WRITE)


def _writable() -> Iterator[Tuple[int, int]]:
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:  # noqa: PTH123  nothing else to import
        for line in list(maps):
            place, rights, *_ = line.split(maxsplit=2)
            if rights.startswith("rw-p") and "[stack]" not in line:
                start, _, end = place.partition("-")
                yield int(start, 16), int(end, 16) - int(start, 16)
