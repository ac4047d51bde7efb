"""One job under supervision: the loop that hears the worker and its scripts, and the ways in which it stops."""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import time
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Set

from runner.channel import SupervisorChannel
from runner.contract.masking import Patterns, mask_text
from runner.contract.spool import Stream
from runner.crash import crash_point
from runner.errors import RunnerError, SpoolFull
from runner.job_folder import ACCOUNT_FOLDER, JobFile, JobFolder
from runner.job_variables import variables_of
from runner.output_stream import OutputStream, ServiceLines
from runner.process_tree import TreeEnding, children, cpu_seconds, descendants
from runner.service_desk import ServiceDesk, ServiceSocket
from runner.spool_writer import SpoolWriter
from runner.worker import PIPE_BYTES, Worker

READ_BYTES = 64 * 1024
# What is read at once before other news is looked at: at most what two full pipes hold.
DRAIN_BYTES = 2 * PIPE_BYTES
TICK_S = 0.1
ENDING_TICK_S = 0.02
CPU_EVERY_S = 2.0
WORKER_PATIENCE_S = 2.0


class Stop:
    """Whether somebody wants the job to stop: the cancel file, or a signal to the supervisor itself."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._is_signalled = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self._is_signalled = True

    def wanted(self) -> tuple[str, str] | None:
        """The state and the message that the job ends with; None while nobody wants it to."""
        if self._folder.is_cancelled():
            reason = self._folder.cancel_reason()
            return "cancelled", f"cancelled: {reason}" if reason else "cancelled"
        if self._is_signalled:
            return "failed", "the supervisor was told to end by SIGTERM (is the machine going down?)"
        return None


@dataclass
class _Pipe:
    """The reading end of what scripts print."""

    descriptor: int
    stream: OutputStream

    def fileno(self) -> int:
        return self.descriptor

    def drain(self, at_most: int) -> None:
        """Take what is there now, without waiting."""
        while at_most > 0:
            try:
                data = os.read(self.descriptor, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                return
            self.stream.feed(data)
            at_most -= len(data)


@dataclass
class Supervision:
    """Everything about a running job; after `run` its fields say how it ended."""

    folder: JobFolder
    job_file: JobFile
    secrets: Mapping[str, str]
    known: Patterns
    spool: SpoolWriter
    stop: Stop
    worker: Worker
    token: str
    state: str = ""
    exit_code: int | None = None
    message: str = ""
    artifacts: List[Dict[str, Any]] = field(default_factory=list)
    survivors: List[str] = field(default_factory=list)
    ended_processes: int = 0
    cancel_confirmed: bool | None = None

    def __post_init__(self) -> None:
        self.variables = variables_of(self.job_file, self.secrets)
        self.desk = ServiceDesk(self.variables, self.known, self.spool)
        self._pipes: List[_Pipe] = []
        self._ending: TreeEnding | None = None
        self._spared: Set[int] = set()
        self._worker_status: int | None = None
        self._has_begun = False

    @property
    def is_over(self) -> bool:
        return bool(self.state)

    @property
    def outputs(self) -> List[Dict[str, Any]]:
        return list(self.desk.outputs.values())

    def say(self, stream: Stream, text: str) -> None:
        """The runner's own words, masked."""
        self.spool.text(stream, mask_text(text, self.known).rstrip("\n").encode("utf-8", "replace") + b"\n")

    def flush(self) -> None:
        self.spool.flush()

    def fail(self, message: str) -> None:
        self.state, self.message = "failed", message

    def stop_before_start(self, is_late: bool, late_message: str) -> bool:
        """Whether the job ends here, before anything of it ran."""
        wanted = self.stop.wanted()
        if wanted:
            self.state, self.message = wanted
            self.cancel_confirmed = True if self.state == "cancelled" else None
        elif is_late:
            self.state, self.message = "timed-out", late_message
        return self.is_over

    def run(self) -> None:
        """Let the worker begin and stay with it until it, and all that had to end, is over."""
        service = self._start()
        try:
            self.spool.event({"event": "started", "pid": self.worker.pid})
            self._loop(self.worker.control, service)
        except Exception as error:  # noqa: BLE001  whatever went wrong here, nothing may go on unseen
            self._end_unseen(error)
        self._finish()

    def _start(self) -> ServiceSocket:
        worker = self.worker
        # A description of our own: scripts wait for their turn, the supervisor never does.
        self._turn_look = os.open(f"/proc/self/fd/{worker.turn[0]}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(worker.turn[1], b".")
        self._has_begun = True
        worker.go()
        crash_point("supervision.begun")
        # From here on beside the worker.
        gc.enable()
        import hashlib  # noqa: F401  late: what the first record needs; to load it takes as long as a short script

        self.folder.set_aside()
        for stream, descriptor in ((Stream.STDOUT, worker.stdout), (Stream.STDERR, worker.stderr)):
            lines = ServiceLines(self.token, self.desk.service_line)
            self._pipes.append(_Pipe(descriptor, OutputStream(stream, self.known, self.spool, lines)))
        return ServiceSocket(worker.service, self.desk)

    def _loop(self, control: SupervisorChannel, service: ServiceSocket) -> None:
        started = time.monotonic()
        next_cpu = started + CPU_EVERY_S
        with selectors.DefaultSelector() as selector:
            watchable: List[_Pipe | SupervisorChannel | ServiceSocket] = [*self._pipes, control, service]
            for watched in watchable:
                selector.register(watched, selectors.EVENT_READ, watched)
            while not control.is_closed or self._ending is not None:
                self._hear(selector, control, service)
                now = time.monotonic()
                if self.spool.due_in_s() == 0.0:
                    self.spool.flush()
                if self._ending is not None:
                    if self._ending.is_over(now):
                        break
                    self._reap()
                    continue
                if control.is_closed and not self.is_over:
                    self._end(
                        "failed", f"the runner's worker {self._worker_end()} before it could say how the job ended", now
                    )
                if not self.is_over:
                    self._end_if_told(now - started >= self.job_file.limits.wall_s, now)
                if not self.is_over and now >= next_cpu:
                    self._end_if_costly(now)
                    next_cpu = now + CPU_EVERY_S

    def _hear(self, selector: selectors.BaseSelector, control: SupervisorChannel, service: ServiceSocket) -> None:
        due = self.spool.due_in_s()
        tick = ENDING_TICK_S if self._ending is not None else TICK_S
        for key, _ in selector.select(tick if due is None else min(tick, due)):
            if isinstance(key.data, _Pipe):
                if not self._read(key.data):
                    selector.unregister(key.fd)
            elif key.data is service:
                # A script may ask for what the worker set just before it started the script.
                self._hear_worker(control, service)
                service.exchange()
            else:
                self._hear_worker(control, service)
                if control.is_closed:
                    selector.unregister(control)
        _watch(selector, service)

    def _read(self, pipe: _Pipe) -> bool:
        """One read; False once nobody can write any more."""
        try:
            data = os.read(pipe.descriptor, READ_BYTES)
        except BlockingIOError:
            return True
        pipe.stream.feed(data)
        return bool(data)

    def _hear_worker(self, control: SupervisorChannel, service: ServiceSocket) -> None:
        messages = control.receive()
        for message in messages:
            if "variable" in message:
                self.variables.set(message["variable"], message["value"])
        for message in messages:
            # What scripts printed before the worker spoke stands before its words.
            self._drain(service)
            if "say" in message:
                self.say(Stream(message["say"]), message["text"])
            elif "event" in message:
                self.spool.event(self._masked(message["event"]))
            elif "output" in message:
                self.desk.set_output(message["output"], message["value"])
            elif "artifact" in message:
                self.artifacts.append(message["artifact"])
                self.spool.event(
                    {"event": "artifact", **{k: message["artifact"][k] for k in ("name", "size", "sha256")}}
                )
            elif "spare" in message:
                self._spared.add(message["spare"])
            elif "script_ended" in message:
                self._script_ended(control, service)
            elif "done" in message and self._ending is None:
                self.state, self.exit_code, self.message = message["done"], message["exit_code"], message["message"]

    def _script_ended(self, control: SupervisorChannel, service: ServiceSocket) -> None:
        for pipe in self._pipes:
            pipe.stream.finish()
        service.forget_half()
        with contextlib.suppress(BlockingIOError):
            os.read(self._turn_look, 64)
        os.write(self.worker.turn[1], b".")
        outputs = {name: output["value"] for name, output in self.desk.outputs.items()}
        control.answer(
            {
                "outputs": outputs,
                "artifacts": self.desk.new_artifacts,
                "failure": self.desk.failure,
                "asked_for_release": self.variables.asked_for_release,
            }
        )
        self.desk.new_artifacts.clear()
        self.desk.failure = None

    def _drain(self, service: ServiceSocket | None = None) -> None:
        for pipe in self._pipes:
            pipe.drain(DRAIN_BYTES)
        if service is not None:
            service.exchange()

    def _masked(self, event: Dict[str, Any]) -> Dict[str, Any]:
        return {k: mask_text(v, self.known) if isinstance(v, str) else v for k, v in event.items()}

    def _end_if_told(self, is_late: bool, now: float) -> None:
        wanted = self.stop.wanted()
        if wanted is None and is_late:
            wanted = ("timed-out", f"not done within {self.job_file.limits.wall_s} seconds")
        if wanted is not None:
            self._end(wanted[0], wanted[1], now)

    def _end_if_costly(self, now: float) -> None:
        self._reap()
        used = cpu_seconds(descendants(os.getpid(), self._spared))
        if used > self.job_file.limits.cpu_s:
            self._end("timed-out", f"used more than {self.job_file.limits.cpu_s} seconds of processor time", now)

    def _end(self, state: str, message: str, now: float) -> None:
        self.say(Stream.ERROR, f"{message}: ending all processes of the job")
        self._ending = TreeEnding(self.job_file.job.grace_s, now, self._spared)
        self.state, self.message, self.exit_code = state, message, None
        crash_point("supervision.ending")

    def _end_unseen(self, error: Exception) -> None:
        """The supervisor can keep no word more (a full disk, say): end all, and say why in the outcome."""
        ending = self._ending or TreeEnding(self.job_file.job.grace_s, time.monotonic(), self._spared)
        while not ending.is_over(time.monotonic()):
            self._reap()
            self._drain()
            time.sleep(ENDING_TICK_S)
        self._ending = ending
        sentence = str(error) if isinstance(error, (RunnerError, OSError)) else f"a fault in the runner: {error!r}"
        self.state, self.message, self.exit_code = "failed", sentence, None

    def _finish(self) -> None:
        crash_point("supervision.over")
        with contextlib.suppress(SpoolFull, OSError):
            self._drain()
            for pipe in self._pipes:
                pipe.stream.finish()
            self.spool.sync()
        self._take_account_away()
        with contextlib.suppress(SpoolFull):
            self._note_left_running()
        if self._ending is not None:
            self.survivors = self._ending.survivors
            self.ended_processes = self._ending.ended_processes
            if self.survivors:
                self.message += f"; not ended: {', '.join(self.survivors)}"
        if self.state == "cancelled":
            self.cancel_confirmed = not self.survivors
        os.close(self._turn_look)

    def _take_account_away(self) -> None:
        """A worker that was ended has left it."""
        folder = self.folder.work / ACCOUNT_FOLDER
        if folder.exists():
            import shutil  # late: few jobs have one

            shutil.rmtree(folder, ignore_errors=True)

    def _worker_end(self) -> str:
        """How the worker ended; its end of the channel closes a moment before it is gone."""
        deadline = time.monotonic() + WORKER_PATIENCE_S
        self._reap()
        while self._worker_status is None and time.monotonic() < deadline:
            time.sleep(0.0005)
            self._reap()
        return _how(self._worker_status)

    def bury_worker(self) -> None:
        """Leave no dead process to others; the kernel takes its time to take one apart, and the outcome need not."""
        if self._has_begun:
            self.worker.control.close()
            self._worker_end()

    def _reap(self) -> bool:
        """Take leave of every child that ended, orphans of scripts too; whether any child is left."""
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
            while pid:
                if pid == self.worker.pid:
                    self._worker_status = status
                pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        return True

    def _note_left_running(self) -> None:
        if self._ending is not None or self._is_alone():
            return
        self.bury_worker()
        left = [
            process
            for process in descendants(os.getpid(), self._spared)
            if not process.is_zombie and process.pid != self.worker.pid
        ]
        if left:
            names = ", ".join(f"{process.pid} {process.name}" for process in left[:5])
            self.say(Stream.VERBOSE, f"{len(left)} processes that the job started go on: {names}")

    def _is_alone(self) -> bool:
        """Whether there is nobody but the worker, which has said all that it will say."""
        # Its orphans come to us when it goes, so it is asked first.
        of_worker, ours = children(self.worker.pid), children(os.getpid())
        return not of_worker and ours is not None and set(ours) <= {self.worker.pid}


def _watch(selector: selectors.BaseSelector, service: ServiceSocket) -> None:
    """Wait for questions, or else for room to answer the last one."""
    wanted = selectors.EVENT_WRITE if service.wants_to_send else selectors.EVENT_READ
    key = selector.get_map().get(service)
    if key is not None and service.is_closed:
        selector.unregister(service)
    elif key is not None and key.events != wanted:
        selector.modify(service, wanted, service)


def _how(status: int | None) -> str:
    if status is None:
        return "went away"
    if os.WIFSIGNALED(status):
        return f"was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with code {os.WEXITSTATUS(status)}"
