"""Whatever a job prints or holds, supervisor and worker each stay under 60 MB, and nothing of it is lost in silence.

The floods are as large as MANYARM_FLOOD_MB says (100): `MANYARM_FLOOD_MB=1000 pytest tests/runner/test_memory.py` is the
full size, and takes a minute.
"""

import base64
import contextlib
import hashlib
import io
import json
import os
import random
import tarfile
import time
from pathlib import Path

import pytest

from runner.contract.spool import CHAIN_START, Kind, Stream, read_records

MOST_KB = 60_000
FLOOD_MB = int(os.environ.get("MANYARM_FLOOD_MB", "100"))
ROOM = {"cpu_s": 3600, "wall_s": 900, "out_bytes": 4 * 1024**3, "disk_bytes": 1024**3}

# Prints pieces as `pieces()` gives them, and leaves the digest of all of them beside it.
PRINTING = """
import hashlib, itertools, os, random, sys, time
{pieces}
digest, out = hashlib.sha256(), {out}.buffer
for piece in pieces():
    digest.update(piece)
    out.write(piece)
    out.flush()
open('digest', 'w').write(digest.hexdigest())
"""
FLOODS = {
    "much of everything": "def pieces():\n    yield from (b'an honest line %09d of output\\n' % n * 1000 for n in range({mb} * 28))",
    "a line without an end": "def pieces():\n    yield from (b'x' * 1_000_000 for _ in range({mb} // 2))",
    "a service line without an end": (
        "def pieces():\n    yield b'##manyarm[' + os.environ['MANYARM_TOKEN'].encode() + b'] {{\"do\": '\n"
        "    yield from (b'x' * 1_000_000 for _ in range({mb} // 2))"
    ),
    "a binary flood": "def pieces():\n    r = random.Random(3)\n    yield from (r.randbytes(1_000_000) for _ in range({mb} // 2))",
    "line ends alone": "def pieces():\n    yield from (b'\\n' * 1_000_000 for _ in range({mb} // 10))",
    "broken UTF-8": "def pieces():\n    yield from (bytes(range(256)) * 4000 for _ in range({mb} // 2))",
    "ten thousand short lines a second": (
        "def pieces():\n    began = time.monotonic()\n    for n in range({mb} * 5):\n"
        "        time.sleep(max(0, began + n / 100 - time.monotonic()))\n"
        "        yield b''.join(b'line %d\\n' % i for i in range(n * 100, n * 100 + 100))"
    ),
}


class Meter:
    """The most that a job's supervisor and worker had resident, looked at until both are gone."""

    def __init__(self, run) -> None:
        self._run = run
        self.most_kb = {"supervisor": 0, "worker": 0}

    def wait(self, timeout_s: float = 900) -> dict:
        pids = {"supervisor": self._run.process.pid}
        ends = time.monotonic() + timeout_s
        while self._run.process.poll() is None:
            assert time.monotonic() < ends
            if "worker" not in pids:
                with contextlib.suppress(OSError, ValueError):
                    children = (
                        Path(f"/proc/{pids['supervisor']}/task/{pids['supervisor']}/children").read_text().split()
                    )
                    pids |= {"worker": int(children[0])} if children else {}
            for name, pid in pids.items():
                self.most_kb[name] = max(self.most_kb[name], peak_kb(pid))
            time.sleep(0.002)
        return self._run.outcome

    def assert_little(self) -> None:
        assert 5_000 < self.most_kb["supervisor"] < MOST_KB, self.most_kb
        assert self.most_kb["worker"] < MOST_KB, self.most_kb


def peak_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def spooled(path: Path) -> dict[Stream, "hashlib._Hash"]:
    """The digest of each stream's text, read a few megabytes at a time; numbers and chain are checked on the way."""
    digests = {stream: hashlib.sha256() for stream in Stream}
    number, chain, rest = 0, CHAIN_START, b""
    with path.open("rb") as file:
        while piece := file.read(4_000_000):
            rest += piece
            records = read_records(rest, number, chain)
            for record in records:
                number, chain = record.number + 1, record.chain
                if record.kind is Kind.TEXT:
                    digests[record.stream].update(record.content)
            rest = rest[sum(record.size for record in records) :]
    assert not rest
    return digests


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_kept_to_its_last_byte_in_little_memory(rig, flood):
    script = PRINTING.format(pieces=FLOODS[flood].format(mb=FLOOD_MB), out="sys.stdout")
    run = rig.start_script(script, shell="python", limits=ROOM)
    meter = Meter(run)
    outcome = meter.wait()
    assert outcome["state"] == "succeeded", outcome
    printed = (run.folder / "work/digest").read_text()
    if flood == "a service line without an end":
        # What became too long for a message is text, the token masked in it.
        assert outcome["spool"]["bytes"] > FLOOD_MB // 2 * 1_000_000
    else:
        assert spooled(run.folder / "output")[Stream.STDOUT].hexdigest() == printed
    assert "truncated" not in json.dumps(outcome)
    meter.assert_little()


@pytest.mark.slow
def test_both_streams_at_once_are_kept_each_in_its_order(rig):
    script = """import hashlib, sys, threading
def print_all(out, name):
    digest = hashlib.sha256()
    for n in range(20000):
        piece = b'%s %d ' % (name.encode(), n) + b'y' * (n % 700) + b'\\n'
        digest.update(piece); out.buffer.write(piece)
    out.flush(); open(name, 'w').write(digest.hexdigest())
threads = [threading.Thread(target=print_all, args=of) for of in ((sys.stdout, 'out'), (sys.stderr, 'err'))]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    run = rig.start_script(script, shell="python", limits=ROOM)
    meter = Meter(run)
    assert meter.wait()["state"] == "succeeded"
    digests = spooled(run.folder / "output")
    assert digests[Stream.STDOUT].hexdigest() == (run.folder / "work/out").read_text()
    assert digests[Stream.STDERR].hexdigest() == (run.folder / "work/err").read_text()
    meter.assert_little()


def pem(seed: int, size: int = 2400) -> str:
    body = base64.b64encode(random.Random(seed).randbytes(size)).decode()
    return (
        "-----BEGIN KEY-----\n"
        + "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
        + "\n-----END KEY-----\n"
    )


@pytest.mark.slow
def test_keys_are_masked_in_a_flood_and_nothing_else_is_touched(rig):
    script = """import manyarm, sys
key = manyarm.get_variable('Key3')
for n in range(3000):
    sys.stdout.write('an honest line %d\\n' % n * 10)
    if n % 100 == 0: sys.stdout.write(key)
"""
    run = rig.start_script(script, {f"Key{n}": pem(n) for n in range(5)}, shell="python", limits=ROOM)
    meter = Meter(run)
    assert meter.wait()["state"] == "succeeded"
    honest = [line for line in run.out.splitlines() if "honest" in line]
    assert honest == [f"an honest line {n}" for n in range(3000) for _ in range(10)]
    assert not [line for line in pem(3).splitlines() if line in run.out]
    meter.assert_little()


def test_more_secrets_than_can_be_masked_in_little_memory_fail_the_job_before_anything_runs(rig):
    secrets = {f"Key{n}": pem(n) for n in range(60)}
    run = rig.start(rig.job(properties={"script": "echo ran > ../ran"}), secrets)
    meter = Meter(run)
    outcome = meter.wait()
    assert outcome["state"] == "failed"
    assert "to mask 60 secrets of" in outcome["message"]
    assert "would take more than 60 MB of memory" in outcome["message"]
    assert not (run.folder / "ran").exists()
    meter.assert_little()


def test_a_value_that_grows_when_it_is_asked_for_is_refused_in_little_memory(rig):
    variables = {
        "List": ",".join("x" * 500),
        "Grows": "#{each a in List}#{each b in List}#{Text}#{/each}#{/each}",
        "Text": "y" * 1000,
    }
    run = rig.start_script("get_variable Grows > grown || echo refused; get_variable Text", variables=variables)
    meter = Meter(run)
    assert meter.wait()["state"] == "succeeded"
    assert run.out == "refused\n" + "y" * 1000
    assert "1048576 characters" in run.err_text
    meter.assert_little()


XDT = 'xmlns:xdt="http://schemas.microsoft.com/XML-Document-Transform"'
# File name, content, what is done with it, and whether it can be done.
FILES = {
    "tags without end": ("a.html", "#{Name} and #{Name | ToUpper}\n" * 20_000, {"substitute_in": ["*"]}, True),
    "more tags than a block may hold": ("a.html", "#{if Name}" + "#{Name}" * 30_000 + "#{/if}", {"substitute_in": ["*"]}, False),
    "a text of 8 MB": ("a.html", "#{Name}" + "z" * 8_000_000, {"substitute_in": ["*"]}, True),
    "a text of 15 MB in a wide alphabet": ("a.html", "#{Name}\U0001f600" + "z" * 15_000_000, {"substitute_in": ["*"]}, False),
    "a text that grows": ("a.html", "#{each a in List}#{each b in List}#{Text}#{/each}#{/each}", {"substitute_in": ["*"]}, False),
    "a pattern on much": ("a.html", '#{Much | Replace "(x+x+)+y" z}', {"substitute_in": ["*"]}, True),
    "JSON of 4 MB": ("a.json", "[{}" + ', {"a": [1234]}' * 250_000 + "]", {"structured": ["*"]}, True),
    "JSON of deep lists": ("a.json", "[" * 2_000_000, {"structured": ["*"]}, False),
    "YAML of many small lists": ("a.yaml", "[" + "[]," * 20_000 + "]", {"structured": ["*"]}, True),
    "XML of 15,000 elements": ("a.xml", "<r>" + '<a k="v"/>\n' * 15_000 + "<b>1</b></r>", {"structured": ["*"]}, True),
    "XML of 500,000 elements": ("a.xml", "<r>" + "<a/>" * 500_000 + "</r>", {"structured": ["*"]}, False),
    "TOML of many tables": ("a.toml", "[[t]]\na = 1\n" * 30_000, {"structured": ["*"]}, True),
    "lines without end": ("a.properties", "a = b\n" * 300_000, {"structured": ["*"]}, True),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_filled_in_in_little_memory_or_refused_in_a_sentence(rig, tmp_path, name):
    file, content, properties, can_be_done = FILES[name]
    package = tmp_path / "p.tar"
    with tarfile.open(package, "w") as archive:
        entry = tarfile.TarInfo(file)
        entry.size = len(content.encode())
        archive.addfile(entry, io.BytesIO(content.encode()))
    variables = {
        "Name": "n", "List": ",".join("x" * 1000), "Text": "y" * 1000, "Much": "x" * 100_000,
        "5:a:0": "7", "/r/b": "8", "t:5:a": "9", "a": "c",
    }  # fmt: skip
    reference = {"id": "p", "version": "1.0.0", "extension": "tar", "manifest_id": "5" * 32, "sha256": "0" * 64}
    job = rig.job("deploy-package", properties, package=reference, variables=variables)
    run = rig.start(job, packages={"5" * 32: str(package)}, limits=ROOM)
    meter = Meter(run)
    outcome = meter.wait()
    assert outcome["state"] == ("succeeded" if can_be_done else "failed"), (outcome["message"], meter.most_kb)
    assert can_be_done or file in outcome["message"], outcome["message"]
    assert len(outcome["message"]) < 500
    meter.assert_little()
