"""docs/runner.md: every example does what the page says."""

import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from runner.contract.template import expand
from runner.formats import format_of
from runner.languages import all_languages
from runner.steps.deploy_package import STEP
from runner.xml_transform import transform
from tests.runner.rig import make_zip
from tests.runner.speech import SHELLS
from tests.services.requires import requires

PAGE = Path(__file__).resolve().parents[2] / "docs/runner.md"
BLOCK = r"\n```\w*\n(.*?)\n```"
EXAMPLE = re.compile(
    rf"<!-- test: (\w+) ?([^\n]*?) -->{BLOCK}(?:\n<!-- by -->{BLOCK})?(?:\n<!-- gives -->{BLOCK})?", re.DOTALL
)
NAMES = {"dotenv": ".env"}
EXAMPLES = EXAMPLE.findall(PAGE.read_text())
LANGUAGES = {language.name for language in all_languages()}
# PowerShell is on few machines of ours.
SAID_HERE = [example for example in EXAMPLES if example[0] in {*SHELLS, "shebang"} or example[0] not in LANGUAGES]


def variables(text):
    return {
        name: quoted or plain
        for name, quoted, plain in re.findall(r'((?:[^\s=\[]|\[[^\]]*\])+)=(?:"([^"]*)"|(\S+))', text)
    }


def test_the_page_has_an_example_of_each_kind():
    others = {"template", "transform", "copy", "story", "preview", "job"}
    formats = {path.stem.removesuffix("_file") for path in Path("runner/formats").glob("*_file.py")}
    assert {kind for kind, *_ in EXAMPLES} == others | formats | LANGUAGES
    assert PAGE.read_text().count("<!-- test:") == len(EXAMPLES)


@pytest.mark.parametrize(("kind", "values", "text", "by", "gives"), SAID_HERE, ids=[kind for kind, *_ in SAID_HERE])
def test_an_example_does_what_the_page_says(rig, kind, values, text, by, gives):
    if kind == "template":
        assert expand(text, variables(values)) == gives
    elif kind == "preview":
        package, more = make_zip(rig.home / "p.zip", {"index.html": text + "\n"}), {"variables": variables(values)}
        run = rig.deploy(package, {"substitute_in": ["*"]}, secrets={"Token": "s3cret"}, mode="preview", **more)
        assert gives in run.text()
    elif kind == "job":
        (rig.home / "job.json").write_text(text)
        command = [*rig.command, "run", str(rig.home / "job.json")]
        ended = subprocess.run(command, capture_output=True, text=True, env=rig.environ(), check=False)
        assert (ended.returncode, ended.stdout) == (0, gives + "\n"), ended.stderr
    elif kind == "transform":
        assert transform(text, by)[0] == gives
    elif kind in ("copy", "story"):
        properties = YAML(typ="safe").load(text.replace("/srv/", f"{rig.home}/srv/"))
        (copied if kind == "copy" else deployed)(rig, properties, values, gives)
    elif kind not in LANGUAGES:
        assert format_of(NAMES.get(kind, f"example.{kind}"), text).replace(text, variables(values))[0] == gives
    else:
        if kind == "node":
            requires("node")
        run = rig.script(text, shell=kind, variables=variables(values))
        assert run.outcome["state"] == "succeeded", run.text()
        assert run.out == "Hello world\n"
        assert run.outcome["outputs"] == [
            {"name": "Url", "value": "http://localhost:8080/", "secret": False},
            {"name": "Token", "value": "made-on-the-target", "secret": True},
        ]


def copied(rig, properties, values, gives):
    """What the directory holds after new files came to those that the page names."""
    directory = Path(properties["copy_to"])
    for name, content in variables(values).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    rig.deploy(make_zip(rig.home / "new.zip", {"index.html": "new", "css/site.css": "new"}), properties)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    assert [f"{path.relative_to(directory)} {path.read_text()}" for path in files] == gives.splitlines()


def deployed(rig, properties, values, gives):
    """What lies in the application folder after these versions were deployed or gone back to."""
    for word in values.split():
        version = word.removeprefix("back-to-")
        act = rig.deploy if word == version else rig.switch
        run = act(make_zip(rig.home / f"{version}.zip", {"version": version}), properties, version=version)
        assert run.outcome["state"] == "succeeded", run.text()
    root = Path(properties["install_to"])
    releases = sorted(path.relative_to(root) for path in root.glob("releases/[0-9]*"))
    assert [f"current -> {(root / 'current').readlink()}", *map(str, releases)] == gives.splitlines()


def test_the_order_on_the_page_is_the_order_of_the_list():
    page = PAGE.read_text()
    words = [
        "take the application folder",
        "`skip_if_installed`",
        "extract the package",
        "PreDeploy scripts",
        "`substitute_in`",
        "`transforms`",
        "`structured`",
        "`copy_to`",
        "Deploy scripts: the package's",
        "point `current`",
        "PostDeploy scripts",
    ]
    rows = [next(line for line in page.splitlines() if line.startswith(f"| {n} |")) for n in range(1, 12)]
    assert all(word in row for word, row in zip(words, rows, strict=True))
    assert len(STEP.conventions) == len(rows)
