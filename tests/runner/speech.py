"""One and the same thing said in every script language, so that a test says it in each that is installed."""

import shutil
from dataclasses import dataclass

import pytest

from tests.services.requires import requires


@dataclass(frozen=True)
class Speech:
    """Scripts of one language; `{}` stands for what a test fills in.

    `copy_all`: the variables V0, V1, … up to a number into the outputs O0, O1, …
    `everything`: prints "Hello", then Name's value; all six functions, `fail` last.
    `refused`: a set_variable that is given the text of the variable or expression, tells the refusal as a line of output
    that begins with "refused", and goes on.
    """

    shell: str
    copy_all: str
    everything: str
    refused: str
    big: str
    unknown: str
    leave: str
    break_down: str
    kill_itself: str
    wait: str


_POSIX = {
    "copy_all": 'i=0\nwhile [ $i -lt {} ]; do v=$(get_variable "V$i"; printf x); set_variable "O$i" "${{v%x}}"; i=$((i+1)); done',
    "everything": """echo "Hello $(get_variable Name)"
set_variable Url "http://localhost:8080/"
set_variable Token made-on-the-target --secret
set_variable --secret Key another-secret
progress 50 "half of it"
warn "careful"
mkdir sub; cd sub; echo content > report.txt
new_artifact report.txt
new_artifact "$PWD/report.txt" renamed.txt
fail "the database is gone"
echo never
""",
    "refused": 'set_variable Out "{}" 2>err || echo "refused $(cat err)"; set_variable Next yes',
    "big": 'v=$(get_variable Big); echo ${#v}; set_variable Out "$v" || true; set_variable Next "$(get_variable Small)"',
    "unknown": "x=$(get_variable Nothing)\necho never",
    "leave": "exit {}",
    "break_down": "echo before\nls /no/such/thing\necho never",
    "kill_itself": "kill -{} $$",
    "wait": "sleep 600 &\necho ready $!\nwait",
}

SPEECHES = {
    "bash": Speech("bash", **_POSIX),
    "sh": Speech("sh", **_POSIX),
    "python": Speech(
        "python",
        copy_all="import manyarm\nfor i in range({}): manyarm.set_variable(f'O{{i}}', manyarm.get_variable(f'V{{i}}'))",
        everything="""import manyarm, os
print("Hello", manyarm.get_variable("Name"))
manyarm.set_variable("Url", "http://localhost:8080/")
manyarm.set_variable("Token", "made-on-the-target", secret=True)
manyarm.set_variable("Key", "another-secret", secret=True)
manyarm.progress(50, "half of it")
manyarm.warn("careful")
os.mkdir("sub"); os.chdir("sub")
open("report.txt", "w").write("content\\n")
manyarm.new_artifact("report.txt")
manyarm.new_artifact(os.path.abspath("report.txt"), "renamed.txt")
manyarm.fail("the database is gone")
print("never")
""",
        refused="import manyarm\ntry: manyarm.set_variable('Out', '{}')\nexcept manyarm.ManyarmError as error: print('refused', error)\nmanyarm.set_variable('Next', 'yes')",
        big="import manyarm\nv = manyarm.get_variable('Big'); print(len(v))\ntry: manyarm.set_variable('Out', v)\nexcept manyarm.ManyarmError as error: print(error)\nmanyarm.set_variable('Next', manyarm.get_variable('Small'))",
        unknown="import manyarm\nmanyarm.get_variable('Nothing')\nprint('never')",
        leave="import sys\nsys.exit({})",
        break_down="print('before')\nraise OSError('broken')\nprint('never')",
        kill_itself="import os\nos.kill(os.getpid(), {})",
        wait="import subprocess\nchild = subprocess.Popen(['sleep', '600'])\nprint('ready', child.pid)\nchild.wait()",
    ),
    "node": Speech(
        "node",
        copy_all='const m = require("manyarm");\nfor (let i = 0; i < {}; i++) m.setVariable("O" + i, m.getVariable("V" + i));',
        everything="""const manyarm = require("manyarm"), fs = require("fs"), path = require("path");
console.log("Hello", manyarm.getVariable("Name"));
manyarm.setVariable("Url", "http://localhost:8080/");
manyarm.setVariable("Token", "made-on-the-target", { secret: true });
manyarm.setVariable("Key", "another-secret", { secret: true });
manyarm.progress(50, "half of it");
manyarm.warn("careful");
fs.mkdirSync("sub"); process.chdir("sub");
fs.writeFileSync("report.txt", "content\\n");
manyarm.newArtifact("report.txt");
manyarm.newArtifact(path.resolve("report.txt"), "renamed.txt");
manyarm.fail("the database is gone");
console.log("never");
""",
        refused='const m = require("manyarm");\ntry {{ m.setVariable("Out", "{}"); }} catch (e) {{ console.log("refused", e instanceof m.ManyarmError, e.message); }}\nm.setVariable("Next", "yes");',
        big='const m = require("manyarm");\nconst v = m.getVariable("Big"); console.log(v.length);\ntry { m.setVariable("Out", v); } catch (e) { console.log(e.message); }\nm.setVariable("Next", m.getVariable("Small"));',
        unknown='require("manyarm").getVariable("Nothing");\nconsole.log("never");',
        leave="process.exit({});",
        break_down='console.log("before");\nPromise.reject(new Error("broken"));\nsetTimeout(() => console.log("never"), 1000);',
        kill_itself="process.kill(process.pid, {}); setTimeout(() => 0, 60000);",
        wait='const child = require("child_process").spawn("sleep", ["600"]);\nconsole.log("ready", child.pid);',
    ),
    "powershell": Speech(
        "powershell",
        copy_all='for ($i = 0; $i -lt {}; $i++) {{ Set-ManyarmVariable "O$i" (Get-ManyarmVariable "V$i") }}',
        everything="""Write-Output "Hello $(Get-ManyarmVariable Name)"
Set-ManyarmVariable Url "http://localhost:8080/"
Set-ManyarmVariable Token made-on-the-target -Secret
Set-ManyarmVariable -Secret Key another-secret
Write-ManyarmProgress 50 "half of it"
Write-ManyarmWarning "careful"
New-Item -ItemType Directory sub | Set-Location
Set-Content report.txt content
New-ManyarmArtifact report.txt
New-ManyarmArtifact "$PWD/report.txt" renamed.txt
Stop-ManyarmScript "the database is gone"
Write-Output never
""",
        refused='try {{ Set-ManyarmVariable Out "{}" }} catch {{ Write-Output "refused $_" }}\nSet-ManyarmVariable Next yes',
        big="$v = Get-ManyarmVariable Big; $v.Length\ntry { Set-ManyarmVariable Out $v } catch { Write-Output $_ }\nSet-ManyarmVariable Next (Get-ManyarmVariable Small)",
        unknown="Get-ManyarmVariable Nothing\nWrite-Output never",
        leave="exit {}",
        break_down="Write-Output before\nGet-Item /no/such/thing\nWrite-Output never",
        kill_itself="/bin/kill -{} $PID; Start-Sleep 60",
        wait='$child = Start-Process -PassThru sleep 600\nWrite-Output "ready $($child.Id)"\n$child.WaitForExit()',
    ),
}

# PowerShell comes in no distribution's own archive, so that no machine of ours can be made to have it.
SHELLS = [shell for shell in SPEECHES if shell != "powershell" or shutil.which("pwsh")]

in_each_shell = pytest.mark.parametrize("shell", SHELLS)


def speech(shell: str) -> Speech:
    if shell == "node":
        requires("node")
    return SPEECHES[shell]
