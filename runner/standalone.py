"""`run JOB.json`: a job done here and now, without a spoke, for people who write scripts or look for a fault."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict

from runner.contract.spool import CHAIN_START, Kind, Stream, read_records
from runner.job_folder import JobFolder
from runner.readiness import get_ready
from runner.supervisor import supervise

POLL_S = 0.05


def run_here(job: Path) -> int:
    """Do the job of a job.json in a folder of its own; the exit code is 0 where it succeeded.

    Secrets come from the environment variable MANYARM_SECRETS, a JSON object, and are taken out of it at once.
    """
    secrets: Dict[str, str] = json.loads(os.environ.pop("MANYARM_SECRETS", "{}"))
    path = Path(tempfile.mkdtemp(prefix="manyarm-run-"))
    shutil.copyfile(job, path / "job.json")
    pid = os.fork()
    if not pid:
        try:
            folder = JobFolder(path)
            supervise(folder, secrets, get_ready(), claimed=False)
        finally:
            os._exit(0)
    outcome = _follow(path, pid)
    print(f"{outcome.get('state', 'unknown')}: {outcome.get('message', '')}".rstrip(": "), file=sys.stderr)
    print(f"job folder: {path}", file=sys.stderr)
    return 0 if outcome.get("state") == "succeeded" else 1


def _follow(path: Path, pid: int) -> Dict[str, Any]:
    """Show the spool as it grows, until the supervisor ended."""
    at, number, chain = 0, 0, CHAIN_START
    is_over = False
    while True:
        if (path / "output").exists():
            with (path / "output").open("rb") as stream:
                stream.seek(at)
                data = stream.read()
            for record in read_records(data, number, chain):
                at, number, chain = at + record.size, record.number + 1, record.chain
                _show(record.kind, record.stream, record.content)
        if is_over:
            break
        is_over = os.waitpid(pid, os.WNOHANG)[0] == pid
        time.sleep(POLL_S)
    try:
        outcome: Dict[str, Any] = json.loads((path / "outcome.json").read_bytes())
    except OSError:
        return {}
    return outcome


def _show(kind: Kind, stream: Stream, content: bytes) -> None:
    if kind is Kind.TEXT:
        out = sys.stdout if stream is Stream.STDOUT else sys.stderr
        out.buffer.write(content)
        out.buffer.flush()
