"""Compressing what rows keep: one compressor a thread, for making one costs more than most of what it squeezes."""

import threading

import zstandard

_PLAN_LEVEL, _LOG_LEVEL = 3, 1
_kept = threading.local()


def squeeze_plan(plain: bytes) -> bytes:
    """A plan, which is written once and read for as long as its task is remembered."""
    return _compressor(_PLAN_LEVEL).compress(plain)


def squeeze_log(plain: bytes) -> bytes:
    """A block of a log, of which there are many."""
    return _compressor(_LOG_LEVEL).compress(plain)


def _compressor(level: int) -> zstandard.ZstdCompressor:
    compressors: dict[int, zstandard.ZstdCompressor] | None = getattr(_kept, "compressors", None)
    if compressors is None:
        compressors = _kept.compressors = {}
    if level not in compressors:
        compressors[level] = zstandard.ZstdCompressor(level=level)
    return compressors[level]
