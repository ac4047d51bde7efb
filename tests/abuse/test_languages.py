"""What surrounds a script, what it prints and what it is given, in each script language."""

import json
import os

from runner.contract.spool import Stream
from tests.abuse.test_runner import HOSTILE
from tests.runner.conftest import built, rig, unpacked  # noqa: F401  fixtures of the runner's own tests
from tests.runner.speech import in_each_shell, speech

SECRET = "never-to-be-seen-1234"

# How each language prints its whole environment and its own command line; then the lines `{}`, one each.
PRINTS = {
    "bash": "set -x; v=$(get_variable Secret; printf x); set +x; env; tr '\\0' ' ' < /proc/$$/cmdline; echo; t=$MANYARM_TOKEN\n{}",
    "sh": "set -x; v=$(get_variable Secret; printf x); set +x; env; tr '\\0' ' ' < /proc/$$/cmdline; echo; t=$MANYARM_TOKEN\n{}",
    "python": "import os, sys, manyarm; v = manyarm.get_variable('Secret'); print(dict(os.environ), sys.orig_argv if hasattr(sys, 'orig_argv') else sys.argv); t = os.environ['MANYARM_TOKEN']\n{}",
    "node": 'const v = require("manyarm").getVariable("Secret"); console.log(process.env, process.argv, process.execArgv); const t = process.env.MANYARM_TOKEN;\n{}',
    "powershell": "$v = Get-ManyarmVariable Secret; Get-ChildItem env: | Format-List; [Environment]::CommandLine; $t = $env:MANYARM_TOKEN\n{}",
}
LINE = {
    "bash": "printf '%s\\n' {!r}",
    "sh": "printf '%s\\n' {!r}",
    "python": "print({!r})",
    "node": "console.log({!r});",
    "powershell": "Write-Output {!r}",
}
MESSAGE = {
    "bash": """printf '##manyarm[%s] %s\\n' "$t" '{}'""",
    "sh": """printf '##manyarm[%s] %s\\n' "$t" '{}'""",
    "python": "print('##manyarm[' + t + '] {}')",
    "node": "console.log('##manyarm[' + t + '] {}');",
    "powershell": "Write-Output ('##manyarm[' + $t + '] {}')",
}


@in_each_shell
def test_t110_what_would_load_code_into_an_interpreter_is_not_handed_on(rig, tmp_path, shell):  # noqa: F811  the fixture
    evil = tmp_path / "evil"
    evil.write_text("broken(")
    names = (
        "BASH_ENV ENV SHELLOPTS PYTHONSTARTUP PYTHONPATH PYTHONHOME NODE_OPTIONS NODE_PATH PERL5OPT PERL5LIB RUBYOPT PSModulePath"
        " LD_PRELOAD DOTNET_STARTUP_HOOKS CORECLR_ENABLE_PROFILING"
    )
    rig.environment = dict.fromkeys(names.split(), str(evil))
    del rig.environment["LD_PRELOAD"]
    run = rig.script(speech(shell).leave.format(0), shell=shell)
    assert run.outcome["state"] == "succeeded", run.text()
    assert rig.script("env").out.count(str(evil)) == 0


@in_each_shell
def test_t114_t115_a_line_counts_by_this_runs_token_alone_and_the_token_is_masked(rig, shell):  # noqa: F811  the fixture
    speech(shell)
    body = json.dumps({"do": "set_variable", "name": "Mine", "value": "good"}, separators=(",", ":"))
    foreign = f"##manyarm[{'0' * 32}] {body.replace('Mine', 'Stolen')}"
    lines = [LINE[shell].format(foreign), MESSAGE[shell].format(body), LINE[shell].format("end")]
    run = rig.script(PRINTS[shell].format("\n".join(lines)), shell=shell, secrets={"Secret": SECRET})
    assert [o["name"] for o in run.outcome["outputs"]] == ["Mine"], run.text()
    assert run.out.endswith(f"{foreign}\nend\n")
    assert "MANYARM_TOKEN" in run.out
    assert run.out.count("***") == 1, "the token, which the environment holds"


@in_each_shell
def test_t192_a_secret_stands_in_no_environment_no_argument_and_no_trace(rig, shell):  # noqa: F811  the fixture
    speech(shell)
    run = rig.script(PRINTS[shell].format(""), shell=shell, secrets={"Secret": SECRET})
    assert run.outcome["state"] == "succeeded", run.text()
    assert SECRET not in run.text()
    assert ("***" in run.text(Stream.STDERR)) == (shell in ("bash", "sh")), "the trace of its own assignment, masked"


@in_each_shell
def test_t116_hostile_values_of_targets_are_data_in_each_language(rig, shell):  # noqa: F811  the fixture
    literals = {f"V{number}": value for number, value in enumerate(HOSTILE)}
    run = rig.script(
        speech(shell).copy_all.format(len(HOSTILE)), shell=shell, literals=literals, secrets={"Secret": SECRET}
    )
    assert [o["value"] for o in run.outcome["outputs"]] == HOSTILE, run.text()


def test_a_hostile_first_line_runs_nothing_but_the_program_that_it_names(rig, tmp_path):  # noqa: F811  the fixture
    witness = tmp_path / "witness"
    for line in (
        f"#!/bin/false; touch {witness}",
        f"#!$(touch {witness})",
        f"#!/usr/bin/env -S false $(touch${{IFS}}{witness})",
        "#!-c",
        "#! ",
        "#!/usr/bin/env",
        "#!" + "x" * 100_000,
        "#!\udcff\udcfe",
        "#!'unclosed",
        "#!/bin/false 'unclosed",
    ):
        outcome = rig.script(f"{line}\ntouch {witness}\n", shell="shebang").outcome
        assert outcome["state"] == "failed", line[:80]
        assert len(outcome["message"]) < 300 + len(os.environ["PATH"])
        assert not witness.exists(), line[:80]
