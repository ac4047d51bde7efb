"""Loaded by every Python that has this folder on PYTHONPATH: notes when the steps of a round trip happen.

Only `python -m bench roundtrip` puts it there, for runs of their own beside those that are timed. A note is one line,
`<UTC ns> <label>`, appended to the file that BENCH_TRACE names; bench/breakdown.py reads them.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

# module, Class.method, label before it, label after it; what an empty answer or argument list shows is left out.
POINTS = (
    ("hub.operations.asking", "Asking.ask", "api asks", "api has its answer"),
    ("hub.operations.asking", "Asking._publish", "intent row committed", ""),
    ("hub.operations.answering", "Answering.handle", "engine has the intent", ""),
    ("hub.orchestrator.outbox", "Publisher.wake", "task and outbox committed", ""),
    ("hub.orchestrator.outbox", "Publisher._seal", "outbox reads", "command sealed"),
    ("hub.orchestrator.outbox", "Publisher._publish", "issue noted", "command published"),
    ("spokes.agent.service", "SpokeService._take_safely", "spoke has the command", ""),
    ("spokes.agent.journal", "Journal.accept", "command opened", "journaled"),
    ("spokes.agent.this_machine", "ThisMachine._run_job", "job folder laid out", "supervisor told to go"),
    ("spokes.agent.following", "Follower._result_of", "end noticed", ""),
    ("spokes.agent.reporter", "Reporter._publish", "", "result published"),
    ("hub.orchestrator.inbox", "Inbox._in_one_or_singly", "results opened", "results committed"),
    ("hub.orchestrator.inbox", "Inbox._log_batch", "hub has the log", "log committed"),
)


def note(descriptor: int, label: str) -> None:
    if label:
        os.write(descriptor, f"{time.time_ns()} {label}\n".encode())


def watched(method: Callable[..., Any], descriptor: int, before: str, after: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def noted(*arguments: Any, **named: Any) -> Any:
        note(descriptor, before)
        try:
            return method(*arguments, **named)
        finally:
            note(descriptor, after)

    return noted


class PatchedAfterImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module as always, runs it as always, then puts the notes around its methods."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._modules = {module for module, *_ in POINTS}
        self._loaders: dict[str, Any] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._modules:
            return None
        self._modules.discard(fullname)
        spec = next(
            (
                found
                for finder in sys.meta_path
                if finder is not self and (found := finder.find_spec(fullname, path, target)) is not None
            ),
            None,
        )
        if spec is not None:
            self._loaders[fullname] = spec.loader
            spec.loader = self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:  # noqa: ARG002  Python asks so.
        return None

    def exec_module(self, module: ModuleType) -> None:
        self._loaders[module.__name__].exec_module(module)
        for name, place, before, after in POINTS:
            if name == module.__name__:
                owner, method = place.split(".")
                cls = getattr(module, owner)
                setattr(cls, method, watched(getattr(cls, method), self._descriptor, before, after))


if "BENCH_TRACE" in os.environ:
    sys.meta_path.insert(
        0, PatchedAfterImport(os.open(os.environ["BENCH_TRACE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    )
