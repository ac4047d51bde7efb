"""Every script language: the same functions, the same values, the same ends."""

import os
import random
import shutil
import signal

import pytest

from runner.contract.spool import Stream
from tests.runner.rig import make_zip
from tests.runner.speech import SPEECHES, in_each_shell, speech
from tests.runner.test_scripts import TRICKY
from tests.runner.test_supervisor import is_alive

# What shells, JSON, encodings and terminals stumble over; texts are made of these at random.
PIECES = [
    *"\"'`$\\!&|;<>(){}[]*?~#%^=- \t\n\r\x01\x07\x1b\x7f\x85\xa0",
    *("$(id)", "`id`", "${HOME}", "$'x'", '"$x"', "#{Name}", "##{x}", "%s%n", "\\u0041", "\\x41", "\\n", "\r\n", "--secret", "-"),
    *"aZ0äß€\u0301\u200f\u2028\ufeff\ufffd\uffff",
    *("😀", "\U0010ffff", "日本", "x" * 70, "0x10", "1e5", "true", "2024-01-01T00:00:00Z", '{"a":1}'),
]  # fmt: skip

CHARACTERS = [*range(1, 0xD800), *range(0xE000, 0x11_0000)]


def values(seed, count):
    choose = random.Random(seed)
    made = ["".join(choose.choices(PIECES, k=choose.randint(0, 40))) for _ in range(count)]
    made += ["".join(chr(c) for c in choose.sample(CHARACTERS, 60)) for _ in range(count)]
    return ["", "-", "--secret", " ", "\n", "\n\n", "a\n", "x" * 60_000, "€" * 20_000, TRICKY, *made]


@in_each_shell
def test_each_language_says_everything(any_rig, shell):
    run = any_rig.script(speech(shell).everything, shell=shell, variables={"Name": "#{Who}", "Who": "world"})
    outcome = run.outcome
    assert run.out == "Hello world\n", run.text()
    assert (outcome["state"], outcome["message"], outcome["exit_code"]) == ("failed", "the database is gone", 1)
    assert outcome["outputs"] == [
        {"name": "Url", "value": "http://localhost:8080/", "secret": False},
        {"name": "Token", "value": "made-on-the-target", "secret": True},
        {"name": "Key", "value": "another-secret", "secret": True},
    ]
    assert {"event": "progress", "percent": 50, "message": "half of it"} in run.events
    assert "careful\n" in run.text(Stream.WARNING)
    assert [(a["name"], a["size"]) for a in outcome["artifacts"]] == [("report.txt", 8), ("renamed.txt", 8)]


@in_each_shell
def test_any_text_goes_in_and_comes_out_unchanged(rig, shell):
    texts = values(shell, 15)
    literals = {f"V{n}": text for n, text in enumerate(texts)}
    run = rig.script(speech(shell).copy_all.format(len(texts)), shell=shell, literals=literals)
    assert [o["value"] for o in run.outcome["outputs"]] == texts, run.text()


@in_each_shell
def test_a_megabyte_is_read_and_refused_and_spoils_nothing_after_it(rig, shell):
    literals = {"Big": "ab\n€" * 250_000, "Small": "still right"}
    run = rig.script(speech(shell).big, shell=shell, literals=literals)
    assert run.outcome["state"] == "succeeded", run.text()
    assert run.outcome["outputs"] == [{"name": "Next", "value": "still right", "secret": False}]
    assert "at most" in run.text()
    length = int(run.out.splitlines()[0])
    assert length in {1_000_000, len(literals["Big"].encode())}, "characters, or the shell's bytes"


@pytest.mark.parametrize(
    ("shell", "value", "sentence"),
    [
        ("bash", "$(printf '\\377')", "UTF-8 text"),
        ("sh", "$(printf '\\377')", "UTF-8 text"),
        ("python", "a\\0b", "holds a NUL character"),
        ("node", "a\\0b", "holds a NUL character"),
        ("python", "\\ud800x", "half of a surrogate pair"),
        ("node", "\\ud800x", "half of a surrogate pair"),
    ],
)
def test_what_is_no_text_is_refused_in_a_sentence(rig, shell, value, sentence):
    run = rig.script(speech(shell).refused.format(value), shell=shell)
    assert run.out.startswith("refused"), run.text()
    assert sentence in run.out
    assert run.outcome["outputs"] == [{"name": "Next", "value": "yes", "secret": False}]


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_value_that_no_shell_can_hold_is_refused_and_not_cut(rig, shell):
    run = rig.script("get_variable Nul || echo refused $?", shell=shell, literals={"Nul": "a\0b"})
    assert run.out == "refused 1\n"
    assert "'Nul' holds a NUL character, which a shell cannot" in run.err_text


@in_each_shell
def test_an_unknown_variable_ends_the_script_with_a_sentence(rig, shell):
    run = rig.script(speech(shell).unknown, shell=shell)
    assert run.outcome["state"] == "failed"
    assert "no variable is named 'Nothing'" in run.err_text
    assert "never" not in run.out


@in_each_shell
def test_the_exit_code_is_the_scripts(rig, shell):
    for code in (0, 7, 255):
        outcome = rig.script(speech(shell).leave.format(code), shell=shell).outcome
        assert (outcome["state"], outcome["exit_code"]) == ("failed" if code else "succeeded", code)


@in_each_shell
def test_a_signal_is_told_by_its_name_and_counted_as_shells_do(rig, shell):
    for number, name in ((signal.SIGKILL, "SIGKILL"), (40, "signal 40")):
        outcome = rig.script(speech(shell).kill_itself.format(int(number)), shell=shell).outcome
        assert (outcome["state"], outcome["exit_code"]) == ("failed", 128 + number)
        assert outcome["message"] == f"script script was ended by {name}"


@in_each_shell
def test_a_script_that_breaks_down_fails_and_goes_no_further(rig, shell):
    run = rig.script(speech(shell).break_down, shell=shell)
    assert run.outcome["state"] == "failed", run.text()
    assert run.outcome["exit_code"] not in (None, 0)
    assert run.out == "before\n"


@in_each_shell
def test_a_cancel_ends_the_interpreter_and_what_it_started(rig, shell):
    run = rig.start_script(speech(shell).wait, shell=shell)
    run.until("ready")
    child = int(run.out.split()[1])
    (run.folder / "cancel").write_text("{}")
    outcome = run.wait()
    assert (outcome["state"], outcome["cancel_confirmed"]) == ("cancelled", True)
    assert outcome["ended_processes"] >= 2
    assert not is_alive(child)


@in_each_shell
def test_time_that_is_up_ends_the_interpreter_and_what_it_started(rig, shell):
    run = rig.start_script(speech(shell).wait, shell=shell, limits={"wall_s": 1})
    outcome = run.wait()
    assert (outcome["state"], outcome["survivors"]) == ("timed-out", [])


STRICT = [
    ("bash", "false\necho on", True),
    ("bash", "false | true\necho on", True),
    ("bash", "if false; then :; fi\necho on", False),
    ("bash", "set +e\nfalse\necho on", False),
    ("sh", "false\necho on", True),
    ("sh", "if false; then :; fi\necho on", False),
]


@pytest.mark.parametrize(("shell", "script", "ends"), STRICT)
def test_a_strict_script_ends_at_the_first_failure_and_another_goes_on(rig, shell, script, ends):
    strict = rig.script(script, shell=shell)
    assert (strict.outcome["state"], strict.out) == (("failed", "") if ends else ("succeeded", "on\n"))
    job = rig.job(properties={"script": script, "shell": shell, "strict": False})
    lenient = rig.run(job)
    assert (lenient.outcome["state"], lenient.out) == ("succeeded", "on\n")


def test_strictness_is_not_inherited_by_scripts_that_a_script_starts(rig):
    inner = "#!/bin/bash\nfalse\necho on; get_variable Name\n"
    run = rig.script(f"cat > inner <<'END'\n{inner}END\nbash inner", variables={"Name": "value"})
    assert run.out == "on\nvalue"


@pytest.mark.parametrize(
    ("shell", "program"), [("bash", "bash"), ("sh", "sh"), ("node", "node"), ("powershell", "pwsh")]
)
def test_an_interpreter_that_is_missing_is_said_in_one_sentence(rig, tmp_path, shell, program):
    rig.environment = {"PATH": str(tmp_path)}
    outcome = rig.script("anything", shell=shell).outcome
    assert outcome["state"] == "failed"
    assert outcome["message"] == f"this machine has no {program} on its path ({tmp_path})"


def test_an_unknown_language_is_refused_with_those_there_are(rig):
    outcome = rig.script("x", shell="cobol").outcome
    assert "properties.shell" in outcome["message"]
    assert "bash, node, powershell, python, sh, shebang" in outcome["message"]


def test_messages_of_a_posix_shell_name_the_script_and_its_line(rig):
    run = rig.script('\n\necho "$0" $#\nno-such-program || :\ncd /no/such/place', shell="sh")
    own, count = run.out.split()
    assert own.endswith("/work/.manyarm/1-script")
    assert count == "0"
    assert f"{own}: 4: no-such-program" in run.err_text.replace(f"{own}: 4: {own}: ", f"{own}: 4: ")
    assert run.outcome["exit_code"] == 2


def test_functions_of_a_posix_shell_work_under_strict_settings_and_in_subshells(rig):
    script = """set -eu
trap 'echo trapped' EXIT
( get_variable A ) | { read -r line || :; echo "got $line"; }
for i in 1 2 3 4; do ( set_variable "P$i" "$(get_variable A)$i" ) & done
wait
"$MANYARM_PYTHON" -c 'import os; print("fd", "MANYARM_FD" in os.environ)'
sh -euc '. "$MANYARM_TOOLS/manyarm.sh"; set_variable Inner yes'
progress x "not a number" || echo refused
"""
    run = rig.script(script, shell="sh", variables={"A": "value"})
    assert run.out == "got value\nfd True\nrefused\ntrapped\n", run.text()
    outputs = {o["name"]: o["value"] for o in run.outcome["outputs"]}
    assert outputs == {"P1": "value1", "P2": "value2", "P3": "value3", "P4": "value4", "Inner": "yes"}


def test_what_a_posix_shell_says_is_never_an_argument_that_others_see(rig, tmp_path):
    witness = tmp_path / "python"
    witness.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> "$WITNESS"\nexec "$REAL" "$@"\n')
    witness.chmod(0o755)
    script = f"""export REAL="$MANYARM_PYTHON" WITNESS="$PWD/seen" MANYARM_PYTHON={witness}
set_variable Token made-on-the-target --secret
warn "of made-on-the-target"
fail "with made-on-the-target"
"""
    run = rig.script(script, shell="sh")
    seen = (run.folder / "work/seen").read_text()
    assert "set_variable\nToken\n-\n--secret\n" in seen
    assert "made-on-the-target" not in seen
    assert run.outcome["message"] == "with ***"


# A first line with `#!` --------------------------------------------------------------------------------------------

PERL = """#!/usr/bin/env perl -w
use strict;
sub ask { open(my $asked, "-|", $ENV{MANYARM_HELPER}, @_) or die; local $/; my $answer = <$asked>; close($asked) or die; $answer }
print "Hello ", ask("get_variable", "Name"), "\\n";
open(my $secret, "|-", $ENV{MANYARM_HELPER}, "set_variable", "Token", "-", "--secret") or die;
print $secret "made-on-the-target"; close($secret) or die;
ask("set_variable", "Url", "http://localhost:8080/");
ask("warn", "careful");
"""


@pytest.mark.parametrize("shell", ["bash", "shebang", "python"])
def test_a_first_line_names_any_interpreter_whatever_the_language(rig, shell):
    run = rig.script(PERL, shell=shell, variables={"Name": "wörld"})
    assert run.outcome["state"] == "succeeded", run.text()
    assert run.out == "Hello wörld\n"
    assert [(o["name"], o["value"], o["secret"]) for o in run.outcome["outputs"]] == [
        ("Token", "made-on-the-target", True),
        ("Url", "http://localhost:8080/", False),
    ]
    assert "careful" in run.text(Stream.WARNING)


@pytest.mark.parametrize(
    ("first", "shell"),
    [
        ("#!/bin/bash", "bash"),
        ("#! /usr/bin/env bash", "bash"),
        ("#!/bin/sh", "sh"),
        ("#!/bin/dash -u", "sh"),
        ("#!/usr/bin/env -S sh -u", "sh"),
        ("#!{python}", "python"),
        ("#!{python} -B", "python"),
        ("#!/usr/bin/env node", "node"),
        ("#!/usr/bin/env pwsh", "powershell"),
    ],
)
def test_an_interpreter_of_a_language_has_its_functions_and_its_strictness(rig, first, shell):
    if shell not in {s for s in SPEECHES if s != "powershell" or shutil.which("pwsh")}:
        outcome = rig.script(f"{first}\n{SPEECHES[shell].unknown}").outcome
        assert outcome["message"].startswith("1-script.ps1 wants to be run by 'pwsh'")
        return
    python = os.path.realpath(shutil.which("python3"))
    text = f"{first.format(python=python)}\n{speech(shell).everything}"
    for chosen in ("bash", "shebang"):
        run = rig.script(text, shell=chosen, variables={"Name": "world"})
        assert (run.outcome["message"], run.out) == ("the database is gone", "Hello world\n"), run.text()
    broken = rig.script(f"{first.format(python=python)}\n{speech(shell).break_down}", shell="shebang")
    assert broken.outcome["state"] == "failed"
    assert broken.out == "before\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("#!/no/such/perl -w\n", "wants to be run by '/no/such/perl', and this machine has no such program"),
        ("#!/usr/bin/env no-such-perl\n", "wants to be run by 'no-such-perl', which is not on this machine's path"),
        ("#!/etc/passwd\n", "wants to be run by '/etc/passwd', and this machine has no such program"),
        ("#!\necho x", "must begin with a line that names its interpreter"),
        ("echo x", "must begin with a line that names its interpreter"),
    ],
)
def test_a_first_line_that_names_nothing_there_is_said_in_one_sentence(rig, text, sentence):
    outcome = rig.script(text, shell="shebang").outcome
    assert outcome["state"] == "failed"
    assert sentence in outcome["message"]


def test_any_posix_shell_finds_the_functions(rig, tmp_path):
    shells = [place for name in ("dash", "busybox", "bash", "mksh", "yash") if (place := shutil.which(name))]
    assert shells
    for place in shells:
        link = tmp_path / place.rpartition("/")[2] / "sh"
        link.parent.mkdir()
        link.symlink_to(place)
        run = rig.script(f"#!{link}\n{speech('sh').everything}", variables={"Name": "world"})
        assert (run.outcome["message"], run.out) == ("the database is gone", "Hello world\n"), (place, run.text())
        assert [o["name"] for o in run.outcome["outputs"]] == ["Url", "Token", "Key"]


# Scripts that a package brings -------------------------------------------------------------------------------------


def test_a_packages_scripts_may_be_in_any_language(rig, tmp_path):
    speech("node")
    files = {
        "PreDeploy.js": 'require("manyarm").setVariable("Pre", __dirname === process.cwd());',
        "Deploy": f"#!{os.path.realpath(shutil.which('python3'))}\r\n".replace("\r", "")
        + "import manyarm\nmanyarm.set_variable('Deploy', 'python')\n",
        "PostDeploy.mjs": 'import { createRequire } from "module";\n'
        'createRequire(import.meta.url)("manyarm").setVariable("Post", "module");\n',
        "deploy.txt": "#!/bin/false\n",
    }
    run = rig.deploy(make_zip(tmp_path / "p.zip", files), {"install_to": str(tmp_path / "site")})
    assert run.outcome["state"] == "succeeded", run.text()
    outputs = {o["name"]: o["value"] for o in run.outcome["outputs"]}
    assert {name: outputs[name] for name in ("Pre", "Deploy", "Post")} == {
        "Pre": "true",
        "Deploy": "python",
        "Post": "module",
    }


@pytest.mark.parametrize(
    ("files", "runs", "warned"),
    [
        ({"Deploy.sh": "echo sh", "Deploy.ps1": "echo ps1"}, "sh\n", ["Deploy.ps1 is not run: Deploy.sh is"]),
        ({"DEPLOY.SH": "echo sh", "Deploy.py": "print('py')"}, "sh\n", ["Deploy.py is not run: DEPLOY.SH is"]),
        ({"Deploy.py": "print('py')", "Deploy": "#!/bin/sh\necho plain"}, "py\n", ["Deploy is not run: Deploy.py is"]),
        ({"Deploy.pl": "#!/usr/bin/perl\nprint qq(perl\\n)"}, "perl\n", []),
        ({"Deploy.sh": "#!/usr/bin/perl\nprint qq(perl\\n)"}, "perl\n", []),
        ({"Deploy.sh": "#!/bin/sh\r\necho plain\n"}, "plain\n", []),
        ({"deploy": "#!/bin/false\n", "Deploy.sh.old": "#!/bin/false\n", "Deploy.json": "{}"}, "", []),
        ({"Deploy": "a text"}, "", []),
    ],
)
def test_which_of_a_packages_files_is_run(rig, tmp_path, files, runs, warned):
    run = rig.deploy(make_zip(tmp_path / "p.zip", files), {"install_to": str(tmp_path / "site")})
    assert run.outcome["state"] == "succeeded", run.text()
    assert run.out == runs
    warnings = run.text(Stream.WARNING)
    assert all(sentence in warnings for sentence in warned)
    assert ("is not run" in warnings) == bool(warned)


def test_a_packages_script_that_was_written_on_windows_runs_where_it_lies(rig, tmp_path):
    script = '#!/bin/bash\r\nif true; then\r\n  cd "$(dirname "$0")"\r\n  cat beside.txt\r\nfi\r\n'
    package = make_zip(tmp_path / "p.zip", {"Deploy.sh": script, "beside.txt": "kept\r\n"})
    run = rig.deploy(package, {"install_to": str(tmp_path / "site")})
    assert (run.outcome["state"], run.out) == ("succeeded", "kept\r\n"), run.text()
    assert "Deploy.sh had line ends of Windows, which bash cannot read" in run.text(Stream.INFO)


def test_a_packages_script_without_the_line_that_its_extension_asks_for_fails_and_is_not_passed_over(rig, tmp_path):
    run = rig.deploy(make_zip(tmp_path / "p.zip", {"Deploy.rb": "puts 1"}), {"install_to": str(tmp_path / "site")})
    assert run.outcome["state"] == "failed"
    assert "must begin with a line that names its interpreter" in run.outcome["message"]
