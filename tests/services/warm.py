"""Runs `manyarm` and `manyarm-spoke` without the wait for Python to start and import: a process that has imported both
forks one for each command.

What runs is the real command in a process of its own, with its own words, environment, folder, streams and exit status;
only the start of the interpreter is shared. Processes that stay (`manyarm up`, a spoke's daemon) are started for real.

    test process --[words, environment, streams]--> nursery --fork--> watcher --fork--> the command
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import pkgutil
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

BIN = Path(sys.executable).parent
COMMANDS = {"manyarm": "hub.cli.__main__", "manyarm-spoke": "spokes.__main__"}
_ROOT = Path(__file__).resolve().parents[2]
_REQUEST_BYTES = 1 << 20


def run(
    command: str, *words: str, env: Mapping[str, str], given: str = "", cwd: Path | None = None, timeout_s: float = 120
) -> "subprocess.CompletedProcess[str]":
    """One command to its end, as `subprocess.run` would run it.

    Raises:
        subprocess.TimeoutExpired: it did not end, and was killed.
    """
    typed = [str(BIN / command), *words]
    if _pythons_own(env) != _pythons_own(os.environ):
        return subprocess.run(typed, env=env, input=given, capture_output=True, text=True, timeout=timeout_s, cwd=cwd)
    with tempfile.TemporaryFile() as put_in, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        put_in.write(given.encode())
        put_in.seek(0)
        asked = {"typed": typed, "module": COMMANDS[command], "env": dict(env), "cwd": str(cwd or Path.cwd())}
        status = _ask(asked, [put_in, said, complained], timeout_s)
        return subprocess.CompletedProcess(typed, status, _text(said), _text(complained))


def _pythons_own(env: Mapping[str, str]) -> dict[str, str]:
    """What Python reads at its start, which is behind a forked one."""
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


def _ask(asked: dict[str, Any], streams: list[IO[bytes]], timeout_s: float) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(str(_nursery()))
        line.settimeout(timeout_s)
        # The words go by a file: an environment may be longer than one packet.
        with tempfile.TemporaryFile() as letter:
            letter.write(json.dumps(asked).encode())
            letter.flush()
            socket.send_fds(line, [b"run"], [letter.fileno(), *(stream.fileno() for stream in streams)])
            pid = int(line.recv(64))
            try:
                return int(line.recv(64))
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(asked["typed"], timeout_s) from None


@functools.cache
def _nursery() -> Path:
    """Started when the first command is asked for; it ends with this process."""
    place = Path(tempfile.mkdtemp(prefix="manyarm-warm-")) / "nursery"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.services.warm", str(place)], cwd=_ROOT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"warm\n"
    atexit.register(_close, process)
    return place


def _close(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)


# In the nursery


def _serve(place: Path) -> None:
    """Until whoever started us closes our standard input, or is gone."""
    for module in COMMANDS.values():
        importlib.import_module(module)
    for package in ("hub.cli.client", "hub.cli.server", "spokes.agent"):
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{found.name}")
    importlib.import_module("hub.composition")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(str(place))
        door.listen(16)
        print("warm", flush=True)
        os.set_blocking(0, False)
        door.settimeout(0.5)
        while _somebody_is_there():
            with contextlib.suppress(TimeoutError):
                line, _ = door.accept()
                with line:
                    if os.fork() == 0:
                        _watch_and_leave(door, line)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    continue


def _somebody_is_there() -> bool:
    try:
        return os.read(0, 1) != b""
    except BlockingIOError:
        return True


def _watch_and_leave(door: socket.socket, line: socket.socket) -> None:
    try:
        door.close()
        _watch(line)
    finally:
        # Never back into the nursery's own code.
        os._exit(0)


def _watch(line: socket.socket) -> None:
    line.settimeout(None)
    _, descriptors, _, _ = socket.recv_fds(line, 16, 4)
    letter, *streams = descriptors
    pid = os.fork()
    if pid == 0:
        line.close()
        _become(json.loads(os.pread(letter, _REQUEST_BYTES, 0)), streams)
    line.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        line.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    """The command, from here to its end."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv[:] = asked["typed"]
    sys.stdin, sys.stdout = open(0, encoding="utf-8"), open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
    # As Python itself ends: what was not caught is told, exit functions run, streams are flushed.
    code = 1
    try:
        sys.exit(sys.modules[asked["module"]].main())
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    nursery = Path(sys.argv[1])
    try:
        _serve(nursery)
    finally:
        # Here, for whoever started us may have been killed.
        shutil.rmtree(nursery.parent, ignore_errors=True)
