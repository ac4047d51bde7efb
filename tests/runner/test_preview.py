"""A dry run of deploy-package: the diff of every file that would change, no secret in it, and nothing else done."""

import base64
import json
import os
import re

import pytest

from tests.runner.rig import make_zip
from tests.runner.test_deploy_package import make_tar

FILES = {
    "index.html": "<h1>#{Greeting}</h1>\n" + "".join(f"line {n}\n" for n in range(20)) + "token #{Token}\n",
    "settings.json": '{\n  "Database": {"Host": "localhost", "Port": 5432},\n  "Token": "none"\n}\n',
    "app.yaml": "# kept\nserver:\n  host: localhost\n",
    "Web.config": '<configuration>\n  <add key="Env" value="dev" />\n</configuration>\n',
    "Web.Release.config": '<configuration xmlns:xdt="http://schemas.microsoft.com/XML-Document-Transform">'
    '<add key="Env" value="#{Token}" xdt:Transform="SetAttributes" xdt:Locator="Match(key)" /></configuration>',
    "readme.txt": "nothing to change\n",
    "PreDeploy.sh": "touch ran\n",
}
PROPERTIES = {
    "substitute_in": ["*.html", "Web.Release.config"],
    "transforms": ["Web.Release.config => Web.config"],
    "structured": ["settings.json", "app.yaml"],
    "deploy": "touch ../../ran",
    "post_deploy": "touch ../../ran",
}
VARIABLES = {"Greeting": "Good day", "Database:Host": "db.example", "server:host": "db.example"}
SECRET = "s3cret-of-the-preview"


def preview(rig, package, properties, secrets=None, **more):
    return rig.deploy(package, properties, secrets=secrets, mode="preview", **more)


def tree(folder):
    return sorted(
        (os.path.relpath(os.path.join(place, name), folder), os.path.getsize(os.path.join(place, name)))
        for place, _, names in os.walk(folder)
        for name in names
    )


def test_every_file_that_would_change_is_told_and_nothing_is_done(any_rig, tmp_path):
    site = tmp_path / "srv/site"
    (tmp_path / "srv").mkdir()
    package = make_zip(tmp_path / "p.zip", FILES)
    properties = {**PROPERTIES, "install_to": str(site)}
    run = preview(any_rig, package, properties, {"Token": SECRET}, variables=VARIABLES)
    assert run.outcome["state"] == "succeeded", run.text()
    text = run.text()
    assert "PreDeploy scripts are not run in a preview" in text
    expected = """\
would change index.html: +2 -2
--- a/index.html
+++ b/index.html
@@ -1,4 +1,4 @@
-<h1>#{Greeting}</h1>
+<h1>Good day</h1>
 line 0
 line 1
 line 2
@@ -19,4 +19,4 @@
 line 17
 line 18
 line 19
-token #{Token}
+token ***
"""
    assert expected in text
    assert '+  "Database": {"Host": "db.example", "Port": 5432},\n+  "Token": "***"\n' in text
    assert "-  host: localhost\n+  host: db.example\n" in text
    assert '-  <add key="Env" value="dev" />\n+  <add key="Env" value="***" />\n' in text
    assert text.endswith("5 of 7 files would change\n")
    assert SECRET not in text
    assert {(e["path"], e["added"], e["removed"]) for e in run.events if e["event"] == "file"} == {
        ("index.html", 2, 2), ("settings.json", 2, 2), ("app.yaml", 1, 1), ("Web.config", 1, 1),
        ("Web.Release.config", 1, 1),
    }  # fmt: skip
    assert not site.exists()
    assert not (any_rig.home / "deployments.jsonl").exists()
    assert not (any_rig.home / "applications").exists()
    assert os.listdir(run.folder / "work") == []
    assert run.outcome["outputs"] == []
    assert not [found for found, _ in tree(tmp_path) if found.endswith("ran")]


def test_what_is_deployed_stays_untouched_and_an_install_makes_what_the_preview_said(rig, tmp_path):
    site = tmp_path / "site"
    properties = {"substitute_in": ["*.html"], "structured": ["settings.json"], "install_to": str(site), "keep": 1}
    files = {name: FILES[name] for name in ("index.html", "settings.json", "readme.txt")}
    old = make_zip(tmp_path / "old.zip", {"readme.txt": "old"})
    assert rig.deploy(old, {"install_to": str(site)}, version="0.9.0").outcome["state"] == "succeeded"
    before, journal = tree(site), (rig.home / "deployments.jsonl").read_bytes()
    package = make_tar(tmp_path / "p.tar.gz", files, "w:gz")
    more = {"extension": "tar.gz", "variables": VARIABLES}
    told = preview(rig, package, properties, {"Token": SECRET}, **more)
    assert told.outcome["state"] == "succeeded", told.text()
    assert (tree(site), (rig.home / "deployments.jsonl").read_bytes()) == (before, journal)
    done = rig.deploy(package, properties, secrets={"Token": SECRET}, **more)
    assert done.outcome["state"] == "succeeded", done.text()
    for name, content in files.items():
        made = (site / "current" / name).read_text()
        assert (made != content) == (f"would change {name}:" in told.text())
        added = re.findall(rf"\+\+\+ b/{re.escape(name)}\n((?:[@ +-].*\n)*)", told.text())
        shown = [line[1:] for line in "".join(added).splitlines() if line.startswith("+")]
        assert all(line.replace("***", SECRET) in made.splitlines() for line in shown)


WAYS = {
    "plain.txt": "#{Token}",
    "upper.txt": "#{Token | ToUpper}",
    "base64.txt": "basic #{Token | ToBase64}",
    "hash.txt": "#{Token | Sha256}",
    "part.txt": "#{Token | Substring 5}",
    "json.json": '{"a": "#{Token | JsonEscape}"}',
    "app.xml": '<a b="#{Token | XmlEscape}"/>',
    "app.yaml": "a: '#{Token}'",
    "app.properties": "a=#{Token}",
    ".env": 'A="#{Token}"',
    "app.toml": 'a = "#{Token}"',
    "app.ini": "[a]\nb = #{Token}",
    "many.txt": "key:\n#{Key}\nend",
    "weak.txt": "pin #{Pin} of #{Word}",
    "test.txt": '#{if Word == "test"}it is the word\n#{/if}end',
    "tree.txt": "#{Db.Host}",
}
SECRETS = {
    "Token": SECRET, "Pin": "42", "Word": "test", "Key": "ab\ncd\nef-in-a-longer-line", "Db": '{"Host": "inner.db"}',
}  # fmt: skip


@pytest.mark.parametrize("structured", [False, True])
def test_no_secret_is_shown_whatever_file_it_goes_into_and_however(rig, tmp_path, structured):
    files = {name: f"before\n{text}\nafter\n" for name, text in WAYS.items()} if not structured else {
        "app.json": '{"Token": "x", "Pin": 1, "Word": "x"}', "app.yaml": "Token: x\nPin: 1\nWord: x\nKey: x\n",
        "app.toml": 'Token = "x"\nPin = 1\n', "app.properties": "Token=x\nPin=1\nWord=x\n", ".env": "Token=x\nPin=1\n",
        "app.ini": "Token=x\nPin=1\nWord=x\n",
    }  # fmt: skip
    properties = {"structured": ["**/*", "*"]} if structured else {"substitute_in": ["**/*", "*"]}
    run = preview(rig, make_zip(tmp_path / "p.zip", files), properties, SECRETS)
    assert run.outcome["state"] == "succeeded", run.text()
    text = "\n".join(line for line in run.text().splitlines() if not line.startswith("replaced "))
    assert {e["path"] for e in run.events if e["event"] == "file"} == set(files)
    forms = [
        SECRET, SECRET.upper(), SECRET[5:], base64.b64encode(SECRET.encode()).decode().rstrip("="),
        "inner.db", "ef-in-a-longer-line",
    ]  # fmt: skip
    assert not [form for form in forms if form in text]
    added = [line[1:] for line in text.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert "it is the word" not in added
    assert not [line for line in added if re.search(r"\b(42|test|ab|cd)\b", line)]
    assert "***" in text


def test_a_package_that_holds_a_secret_itself_does_not_show_it(rig, tmp_path):
    files = {"a.txt": f"was {SECRET}\nkeep {SECRET}\n#{{Greeting}}\n"}
    run = preview(
        rig, make_zip(tmp_path / "p.zip", files), {"substitute_in": ["*"]}, {"Token": SECRET}, variables=VARIABLES
    )
    assert SECRET not in run.text()
    assert " keep ***\n-#{Greeting}\n+Good day\n" in run.text()


def test_a_secret_of_short_lines_does_not_show_behind_the_marks_of_a_diff(rig, tmp_path):
    files = {"a.txt": "one\nab12\ncd34\n#{Greeting}\n"}
    package, more = make_zip(tmp_path / "p.zip", files), {"variables": VARIABLES}
    run = preview(rig, package, {"substitute_in": ["*"]}, {"Key": "ab12\ncd34"}, **more)
    assert " one\n ***\n-#{Greeting}\n+Good day\n" in run.text()


def test_binary_and_long_files_are_named_and_long_lines_cut_around_the_change(rig, tmp_path):
    files = {
        "a.bin": "\0#{Greeting}",
        "long.txt": "#{Greeting}" + "x" * 5_000_000,
        "min.js": "a" * 9_000 + "#{Greeting}" + "b" * 9_000,
        "many.txt": "#{Greeting}\n" * 3_000,
    }
    run = preview(rig, make_zip(tmp_path / "p.zip", files), {"substitute_in": ["*"]}, variables=VARIABLES)
    assert run.outcome["state"] == "succeeded", run.text()
    text = run.text()
    assert "would change a.bin: binary, 12 bytes become 9\n" in text
    assert "would change long.txt: too long to be shown, 5000011 bytes become 5000008\n" in text
    assert "would change many.txt: +3000 -3000, 1 places are not shown\n" in text
    (line,) = [line for line in text.splitlines() if line.startswith("+") and "Good day" in line]
    assert len(line) < 500
    assert "aGood dayb" in line
    assert len(text) < 10_000


def test_an_unknown_name_fails_the_preview_with_its_place_and_shows_what_was_done_before(rig, tmp_path):
    files = {"a.txt": "#{Greeting}\n", "b.txt": "one\n#{Greting}\n"}
    run = preview(
        rig, make_zip(tmp_path / "p.zip", files), {"substitute_in": ["*.txt"]}, {"Token": SECRET}, variables=VARIABLES
    )
    assert run.outcome["state"] == "failed"
    assert "b.txt:2" in run.outcome["message"]
    assert "Greeting" in run.outcome["message"]
    assert "+Good day" in run.text()
    assert "would change\n" not in run.text()


def test_a_file_that_cannot_be_read_fails_the_preview(rig, tmp_path):
    run = preview(rig, make_zip(tmp_path / "p.zip", {"a.json": "{"}), {"structured": ["*.json"]})
    assert run.outcome["state"] == "failed"
    assert "a.json:1" in run.outcome["message"]


def test_what_only_earlier_steps_know_stays_as_it_stands(rig, tmp_path):
    name = "Manyarm.Step[First].Output.Url"
    files = {"a.txt": f"#{{{name}}} #{{Greeting}} #{{Link}}\n"}
    more = {"variables": {**VARIABLES, "Link": f"<#{{{name} | ToUpper}}>"}}
    run = preview(rig, make_zip(tmp_path / "p.zip", files), {"substitute_in": ["*"]}, **more)
    assert run.outcome["state"] == "succeeded", run.text()
    assert f"{name} is known only in a deployment" in run.text()
    assert f"+#{{{name}}} Good day <" in run.text()


def test_a_package_without_changes_says_so(rig, tmp_path):
    run = preview(rig, make_zip(tmp_path / "p.zip", {"a.txt": "x"}), {"substitute_in": ["*"]})
    assert run.text().endswith("no file would change\n")


def test_the_paths_of_the_package_are_those_that_a_deployment_would_give(rig, tmp_path):
    site = tmp_path / "site"
    files = {"a.txt": "#{Manyarm.Package.Id} #{Manyarm.Package.Version} #{Manyarm.Package.InstallDirectory}\n"}
    package, properties = make_zip(tmp_path / "p.zip", files), {"substitute_in": ["*"], "install_to": str(site)}
    told = preview(rig, package, properties)
    assert rig.deploy(package, properties).outcome["state"] == "succeeded"
    assert f"+{(site / 'current/a.txt').read_text()}" in told.text()
    again = preview(rig, package, properties)
    assert f"+storefront 1.0.0 {site}/releases/1.0.0-1\n" in again.text()


def test_an_event_a_file_is_json_of_its_own(rig, tmp_path):
    run = preview(
        rig, make_zip(tmp_path / "p.zip", {"ä b.txt": "#{Greeting}"}), {"substitute_in": ["*"]}, variables=VARIABLES
    )
    (event,) = [e for e in run.events if e["event"] == "file"]
    assert json.loads(json.dumps(event)) == {"event": "file", "path": "ä b.txt", "added": 1, "removed": 1}
