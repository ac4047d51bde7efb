"""Secrets in what scripts print and say: none leaves the supervisor in any form that security.md 3i names."""

import base64
import html
import json
import re
import subprocess
import urllib.parse

import pytest

from runner.contract.masking import weakness
from runner.contract.spool import Stream
from tests.runner.conftest import built, rig, unpacked  # noqa: F401  fixtures of the runner's own tests

SECRET = "hunter2$%@&'\"<é/+> x"
PEM = (
    "-----BEGIN KEY-----\n"
    + "\n".join(base64.b64encode(bytes(range(i, i + 48))).decode() for i in range(0, 144, 48))
    + "\n-----END KEY-----\n"
)


def everything(run):
    """Every byte that the job left for others: spool, outcome and file names."""
    files = [p for p in run.folder.rglob("*") if p.is_file() and "work" not in p.parts and p.name != "job.json"]
    return b"".join(p.read_bytes() + p.name.encode() for p in files)


def test_t187_a_secret_is_masked_wherever_a_script_puts_it(rig):  # noqa: F811  the fixture
    run = rig.script(
        """
s=$(get_variable S)
echo "out $s"; echo "err $s" >&2
echo x > f; new_artifact f "name-$s.txt"
progress 10 "progress $s"; warn "warn $s"
get_variable "unknown $s" || true
set_variable "bad name $s" v || true
set_variable Url "http://user:$s@host/"
fail "because of $s"
""",
        secrets={"S": "correct-horse-battery"},
    )
    assert run.outcome["state"] == "failed"
    assert run.outcome["message"] == "because of ***"
    url = run.outcome["outputs"][0]
    assert url == {"name": "Url", "value": "http://user:correct-horse-battery@host/", "secret": True}
    assert run.outcome["artifacts"][0]["name"] == "name-***.txt"
    spool = (run.folder / "output").read_bytes()
    assert b"correct-horse" not in spool
    assert spool.count(b"***") >= 7
    outcome = (run.folder / "outcome.json").read_text().replace(json.dumps(url["value"]), "")
    assert "correct-horse" not in outcome


FORMS = {
    "raw": SECRET,
    "dollars": SECRET.replace("$", "$$"),
    "json": json.dumps(SECRET)[1:-1],
    "json-utf8": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "percent": urllib.parse.quote(SECRET, safe=""),
    "percent-lower": re.sub("%..", lambda found: found.group().lower(), urllib.parse.quote(SECRET, safe="")),
    "plus": urllib.parse.quote_plus(SECRET),
    "html": html.escape(SECRET),
    "single-quoted": SECRET.replace("'", "'\\''"),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64+1": base64.b64encode(b"a" + SECRET.encode() + b"bc").decode(),
    "base64+2": base64.b64encode(b"ab" + SECRET.encode() + b"c").decode(),
    "base64url": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "powershell": base64.b64encode(f"echo '{SECRET}'".encode("utf-16-le")).decode(),
    "hex": SECRET.encode().hex(),
    "reversed": SECRET[::-1],
}


@pytest.mark.parametrize("form", FORMS)
def test_t189_escaped_and_encoded_forms_are_masked(rig, form):  # noqa: F811  the fixture
    printed = FORMS[form]
    run = rig.script(
        f"import sys\nsys.stdout.write('<<' + {printed!r} + '>>\\n')", shell="python", secrets={"S": SECRET}
    )
    assert "***" in run.out, run.out
    # The ends of a longer encoding are not the secret's; what lies between them is.
    core = printed[24:-8] if form == "powershell" else printed[2:-4]
    assert not any(core[at : at + 8] in run.out for at in range(len(core) - 7)), run.out


def test_t190_a_key_is_masked_whole_line_by_line_and_wrapped_anew(rig):  # noqa: F811  the fixture
    body = "".join(PEM.splitlines()[1:-1])
    rewrapped = "\n".join(body[i : i + 76] for i in range(0, len(body), 76))
    script = f"""import sys, time
sys.stdout.write({PEM!r}); sys.stdout.flush()
for line in {PEM!r}.splitlines(True):
    sys.stdout.write('> ' + line); sys.stdout.flush(); time.sleep(0.06)
print({rewrapped!r}); print({body!r}); print({PEM!r}.replace(chr(10), '\\\\n'))
"""
    run = rig.script(script, shell="python", secrets={"Key": PEM})
    for at in range(0, len(body) - 12, 12):
        assert body[at : at + 12] not in run.out, run.out


def test_t191_failures_tell_no_secret(rig, tmp_path):  # noqa: F811  the fixture
    secret = "s3cr3t-in-arguments"
    for properties, more in (
        ({"script": "exit 3", "shell": f"bash {secret}"}, {}),
        ({"script": "exit 3", secret: "x"}, {}),
        ({"script": "set -x; echo $(get_variable S) | tee /nowhere/$(get_variable S); exit 3"}, {}),
        ({"script": "sleep 60 $(get_variable S)"}, {"limits": {"wall_s": 1}}),
        ({"script": f"raise TypeError('{secret}')", "shell": "python"}, {}),
        ({"script": "true"}, {"kind": f"x {secret}"}),
    ):
        job = rig.job(more.get("kind", "run-script"), properties)
        run = rig.run(job, {"S": secret}, limits=more.get("limits"))
        assert run.outcome["state"] in {"failed", "timed-out"}
        assert secret.encode() not in everything(run), everything(run)


def test_t192_no_secret_stands_in_arguments_or_environment(rig):  # noqa: F811  the fixture
    secret = "s3cr3t-nowhere-to-be-seen"
    script = """
set -x
value=$(get_variable S)
set +x
env > env.txt
for pid in $$ $PPID; do tr '\\0' '\\n' < /proc/$pid/environ; tr '\\0' ' ' < /proc/$pid/cmdline; done > proc.txt
supervisor=$(awk '/^PPid/ {print $2}' /proc/$PPID/status)
for part in environ cmdline; do tr '\\0' '\\n' < /proc/$supervisor/$part; done >> proc.txt
ps -eo args >> proc.txt || true
echo "shown $EXPOSED"
"""
    run = rig.script(script, secrets={"S": secret, "EXPOSED": "exposed-on-purpose"}, expose_env=["EXPOSED"])
    assert run.outcome["state"] == "succeeded", run.text()
    seen = (run.folder / "work/env.txt").read_text() + (run.folder / "work/proc.txt").read_text()
    assert secret not in seen
    assert "MANYARM_FD" in seen
    assert secret.encode() not in everything(run)
    assert run.out.endswith("shown ***\n")
    assert secret not in "".join(p.read_text() for p in (run.folder / "work/.manyarm").iterdir())


def test_t193_a_secret_made_on_the_target_is_masked_from_then_on(rig):  # noqa: F811  the fixture
    run = rig.script("t=made-$((6*7))-here-now; set_variable Token $t --secret; echo $t; echo $t | base64; echo $t >&2")
    assert run.outcome["outputs"] == [{"name": "Token", "value": "made-42-here-now", "secret": True}]
    assert run.out.startswith("***\n")
    assert b"made-42-here-now" not in (run.folder / "output").read_bytes()
    assert base64.b64encode(b"made-42-here-now")[:16] not in (run.folder / "output").read_bytes()


@pytest.mark.parametrize("value", ["abc", "password", "true", ""])
def test_t194_a_weak_secret_is_warned_of_and_the_log_is_not_shredded(rig, value):  # noqa: F811  the fixture
    assert weakness(value)
    run = rig.script("echo abc password true", secrets={"S": value})
    assert "cannot be masked" in run.text(Stream.WARNING)
    assert run.out == "abc password true\n"


def test_masking_keeps_up_with_many_secrets_and_much_output(rig):  # noqa: F811  the fixture
    secrets = {f"S{i}": f"secret-number-{i:04}-{i * 7919}" for i in range(50)}
    run = rig.script(
        "import manyarm, sys\nprint(manyarm.get_variable('S7'))\nsys.stdout.write('an honest line of text\\n' * 50000)\nprint(manyarm.get_variable('S49'))",
        shell="python",
        secrets=secrets,
    )
    assert run.out == "***\n" + "an honest line of text\n" * 50000 + "***\n"


def test_nothing_of_a_secret_is_left_on_the_disk_of_the_job(rig):  # noqa: F811  the fixture
    secret = "never-on-any-disk-at-all"
    run = rig.script("v=$(get_variable S); echo ${#v}", secrets={"S": secret})
    assert subprocess.run(["grep", "-r", secret, str(run.folder)], capture_output=True).returncode == 1
