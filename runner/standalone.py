"""`run JOB.json`: a job done here and now, without a hub or spoke, for people who write scripts or look for a fault."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict

from runner.contract.spool import CHAIN_START, Kind, Stream, read_records
from runner.handwritten import read_job
from runner.job_folder import JobFolder
from runner.readiness import get_ready
from runner.supervisor import supervise

POLL_S = 0.05
INTERRUPTED = 130
_READ_BYTES = 4 * 1024**2


def run_here(job: Path) -> int:
    """Do the job of a file in a folder of its own, and show what it prints.

    Returns:
        0 where it succeeded, 1 where it did not, 130 where it was interrupted (Ctrl-C ends all that it started).

    Raises:
        NotAJob: the file cannot be read as a job; nothing was done.
    """
    content, secrets = read_job(job)
    path = Path(tempfile.mkdtemp(prefix="manyarm-run-"))
    content["home"] = content["home"] or str(path)
    content["cid"] = content["cid"] or path.name
    Path(content["home"]).mkdir(mode=0o700, parents=True, exist_ok=True)
    (path / "job.json").write_text(json.dumps(content), "utf-8")
    pid = os.fork()
    if not pid:
        try:
            supervise(JobFolder(path), secrets, get_ready(), claimed=False)
        finally:
            os._exit(0)
    following = _Following(path, pid)
    outcome = following.to_the_end()
    _tell(path, outcome)
    if following.is_interrupted:
        return INTERRUPTED
    return 0 if outcome.get("state") == "succeeded" else 1


class _Following:
    """Shows the spool as it grows, until the supervisor ended; an interrupt asks it to end."""

    def __init__(self, path: Path, pid: int) -> None:
        self._path = path
        self._pid = pid
        self._at, self._number, self._chain = 0, 0, CHAIN_START
        self.is_interrupted = False

    def to_the_end(self) -> Dict[str, Any]:
        is_over = False
        while not is_over:
            try:
                is_over = os.waitpid(self._pid, os.WNOHANG)[0] == self._pid
                self._show_new()
                if not is_over:
                    time.sleep(POLL_S)
            except KeyboardInterrupt:
                self.is_interrupted = True
                (self._path / "cancel").write_text('{"reason": "interrupted"}', "utf-8")
        try:
            outcome: Dict[str, Any] = json.loads((self._path / "outcome.json").read_bytes())
        except OSError:
            return {}
        return outcome

    def _show_new(self) -> None:
        try:
            stream = (self._path / "output").open("rb")
        except OSError:
            return
        with stream:
            stream.seek(self._at)
            while data := stream.read(_READ_BYTES):
                records = read_records(data, self._number, self._chain)
                for record in records:
                    self._at, self._number, self._chain = self._at + record.size, record.number + 1, record.chain
                    _show(record.kind, record.stream, record.content)
                if not records:
                    return
                stream.seek(self._at)


def _show(kind: Kind, stream: Stream, content: bytes) -> None:
    """What scripts print goes where they printed it; the runner's own words go to standard error."""
    if kind is Kind.EVENT:
        event = json.loads(content)
        if event["event"] != "progress":
            return
        content = f"{event['percent']} % {event['message']}\n".encode()
    out = sys.stdout if stream is Stream.STDOUT else sys.stderr
    out.buffer.write(content)
    out.buffer.flush()


def _tell(path: Path, outcome: Dict[str, Any]) -> None:
    for output in outcome.get("outputs", []):
        print(f"output {output['name']}: {'***' if output['secret'] else output['value']}", file=sys.stderr)
    for artifact in outcome.get("artifacts", []):
        print(f"artifact {artifact['name']}: {artifact['path']}", file=sys.stderr)
    print(f"{outcome.get('state', 'unknown')}: {outcome.get('message', '')}".rstrip(": "), file=sys.stderr)
    print(f"job folder: {path}", file=sys.stderr)
