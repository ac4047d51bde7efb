"""deploy-package: extracted fresh, filled in, scripts in order, `current` moved at once and moved back on failure."""

import io
import json
import os
import stat
import tarfile

import pytest

from runner.contract.spool import Stream
from runner.journal import entries
from tests.runner.rig import make_zip

ORDER = 'echo "{}" >> ../../order.txt\n'


def make_tar(path, files, mode):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if name.endswith(".sh") else 0o600
            archive.addfile(entry, io.BytesIO(content.encode()))
    return path


FILES = {
    "index.html": "<h1>#{Greeting}</h1>\n##{literal}\n",
    "static/app.js": "let x = '#{Greeting}';",
    "settings.json": "{\n  // none\n}".replace(
        "  // none\n", '  "Database": {"Host": "localhost", "Port": 5432, "On": true},\n\t"List" : [1, 2]\n'
    ),
    "PreDeploy.sh": ORDER.format("packaged pre"),
    "Deploy.sh": ORDER.format("packaged deploy") + "test -e index.html\nset_variable Seen yes\n",
    "PostDeploy.py": "import manyarm\nopen('../../order.txt', 'a').write('packaged post ' + manyarm.get_variable('Manyarm.Step[Deploy web].Output.Seen') + '\\n')\n",
}
PROPERTIES = {
    "substitute_in": ["**/*.html", "static/*.js"],
    "structured": ["settings.json"],
    "pre_deploy": ORDER.format("typed pre"),
    "deploy": ORDER.format("typed deploy"),
    "post_deploy": ORDER.format("typed post") + "readlink ../../current\n",
}
VARIABLES = {
    "Greeting": "Good day from #{Manyarm.Environment.Name}",
    "Manyarm.Environment.Name": "Production",
    "database:host": "db.example",
    "Database:Port": "6543",
    "Database:On": "False",
    "List:1": "two",
}


def test_a_deployment_does_all_its_conventions_in_order(any_rig, tmp_path):
    site = tmp_path / "srv/site"
    run = any_rig.deploy(
        make_zip(tmp_path / "p.zip", FILES), {**PROPERTIES, "install_to": str(site)}, variables=VARIABLES
    )
    assert run.outcome["state"] == "succeeded", run.text()
    release = site / "releases/1.0.0"
    assert os.readlink(site / "current") == "releases/1.0.0"
    assert (release / "index.html").read_text() == "<h1>Good day from Production</h1>\n#{literal}\n"
    assert (release / "static/app.js").read_text() == "let x = 'Good day from Production';"
    assert (release / "settings.json").read_text() == (
        '{\n  "Database": {"Host": "db.example", "Port": 6543, "On": false},\n\t"List" : [1, "two"]\n}'
    )
    assert (site / "order.txt").read_text().splitlines() == [
        "typed pre", "packaged pre", "packaged deploy", "typed deploy", "packaged post yes", "typed post",
    ]  # fmt: skip
    assert run.out == "releases/1.0.0\n"
    assert {"name": "InstallDirectory", "value": str(release), "secret": False} in run.outcome["outputs"]
    assert stat.S_IMODE(site.stat().st_mode) == stat.S_IMODE(release.stat().st_mode) == 0o755
    (entry,) = entries(any_rig.home)
    assert entry["succeeded"] is True
    assert (entry["package"], entry["version"], entry["path"]) == ("storefront", "1.0.0", str(release))


def test_without_install_to_releases_lie_in_the_spokes_home(rig, tmp_path):
    run = rig.deploy(make_zip(tmp_path / "p.zip", {"a": "1"}), environment={"id": "e", "name": "Pre/prod: ä"})
    release = next(o["value"] for o in run.outcome["outputs"] if o["name"] == "InstallDirectory")
    parts = os.path.relpath(release, tmp_path).split("/")
    assert parts[0] == "applications"
    assert parts[1].startswith("Pre_prod")
    assert parts[2:] == ["storefront", "1.0.0"]


def test_tenants_and_targets_that_share_a_machine_share_no_folder(rig, tmp_path):
    package = make_zip(tmp_path / "p.zip", {"a": "1"})
    told = ({}, {"tenant": "one"}, {"endpoint": {"kind": "cloud", "region": "x"}})
    paths = [next(iter(rig.deploy(package, **more).outcome["outputs"]))["value"] for more in told]
    assert [os.path.relpath(path, tmp_path / "applications") for path in paths] == [
        "Production/storefront/1.0.0", "one/Production/storefront/1.0.0", "Production/web-1/storefront/1.0.0",
    ]  # fmt: skip


def test_a_second_deployment_of_a_version_overwrites_nothing(rig, tmp_path):
    site = tmp_path / "site"
    package = make_zip(tmp_path / "p.zip", {"a": "1"})
    for expected in ("releases/1.0.0", "releases/1.0.0-1", "releases/1.0.0-2"):
        run = rig.deploy(package, {"install_to": str(site), "deploy": "touch mark"})
        assert run.outcome["state"] == "succeeded", run.text()
        assert os.readlink(site / "current") == expected


def test_a_failure_puts_current_back_and_runs_deploy_failed(rig, tmp_path):
    site = tmp_path / "site"
    good = make_zip(tmp_path / "good.zip", {"a": "1"})
    bad = make_zip(
        tmp_path / "bad.zip", {"PostDeploy.sh": "readlink ../../current; exit 9", "DeployFailed.sh": "echo failing"}
    )
    assert rig.deploy(good, {"install_to": str(site)}).outcome["state"] == "succeeded"
    run = rig.deploy(bad, {"install_to": str(site)}, version="2.0.0")
    assert (run.outcome["state"], run.outcome["exit_code"]) == ("failed", 9)
    assert run.out == "releases/2.0.0\nfailing\n"
    assert os.readlink(site / "current") == "releases/1.0.0"
    assert [e["succeeded"] for e in entries(rig.home)] == [True, False]


def test_a_failed_first_deployment_leaves_no_pointer(rig, tmp_path):
    site = tmp_path / "site"
    run = rig.deploy(make_zip(tmp_path / "p.zip", {"PostDeploy.sh": "exit 1"}), {"install_to": str(site)})
    assert run.outcome["state"] == "failed"
    assert not os.path.lexists(site / "current")


@pytest.mark.parametrize("how", ["a file", "a link", "open to others"])
def test_a_private_folder_that_is_not_the_runners_own_is_refused(rig, tmp_path, how):
    (tmp_path / "site/releases").mkdir(parents=True)
    private = tmp_path / "site/releases/.manyarm"
    if how == "a file":
        private.touch()
    else:
        (private if how == "open to others" else tmp_path / "elsewhere").mkdir(mode=0o777)
    if how == "a link":
        private.symlink_to(tmp_path / "elsewhere")
    run = rig.deploy(make_zip(tmp_path / "p.zip", {"a": "1"}), {"install_to": str(tmp_path / "site")})
    assert "is not the runner's own folder" in run.outcome["message"]
    assert [path.name for path in (tmp_path / "site/releases").iterdir()] == [".manyarm"]


def test_current_is_never_missing_while_it_moves(rig, tmp_path):
    site = tmp_path / "site"
    package = make_zip(tmp_path / "p.zip", {"a": "1"})
    rig.deploy(package, {"install_to": str(site)})
    watch = f"while [ ! -e {tmp_path}/stop ]; do [ -e {site}/current/a ] || echo missing; done"
    watcher = rig.start_script(f"echo ready; {watch}")
    watcher.until("ready")
    for _ in range(3):
        rig.deploy(package, {"install_to": str(site)})
    (tmp_path / "stop").touch()
    watcher.wait()
    assert watcher.out == "ready\n"


def test_what_stands_in_the_place_of_current_is_not_removed(rig, tmp_path):
    (tmp_path / "site/current").mkdir(parents=True)
    run = rig.deploy(make_zip(tmp_path / "p.zip", {"a": "1"}), {"install_to": str(tmp_path / "site")})
    assert run.outcome["state"] == "failed"
    assert "no symbolic link" in run.outcome["message"]


@pytest.mark.parametrize("extension", ["tar", "tar.gz", "tar.bz2", "zip", "nupkg", "whl", "jar"])
def test_every_package_format_is_extracted(rig, tmp_path, extension):
    path = tmp_path / f"p.{extension}"
    files = {"bin/run.sh": "#!/bin/sh\n", "empty": "", "deep/er/file.txt": "x" * 100_000}
    mode = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2"}.get(extension)
    make_tar(path, files, mode) if mode else make_zip(path, files)
    run = rig.deploy(path, {"install_to": str(tmp_path / "site")}, extension=extension)
    assert run.outcome["state"] == "succeeded", run.text()
    current = tmp_path / "site/current"
    assert {name: (current / name).read_text() for name in files} == files
    if mode:
        assert os.access(current / "bin/run.sh", os.X_OK)
    assert stat.S_IMODE((current / "empty").stat().st_mode) == 0o644


def test_an_unknown_variable_in_a_file_names_file_line_and_its_neighbours(rig, tmp_path):
    package = make_zip(tmp_path / "p.zip", {"a.html": "one\ntwo #{Greting}\n"})
    run = rig.deploy(package, {"substitute_in": ["*.html"]}, variables={"Greeting": "x"})
    assert run.outcome["state"] == "failed"
    assert run.outcome["message"] == "a.html:2: no variable is named 'Greting'; did you mean Greeting?"
    run = rig.deploy(package, {"substitute_in": ["*.html"], "allow_unknown": True}, variables={"Greeting": "x"})
    assert run.outcome["state"] == "succeeded"


def test_globs_stay_inside_the_package_and_a_glob_without_files_is_told(rig, tmp_path):
    package = make_zip(tmp_path / "p.zip", {"a.html": "x"})
    run = rig.deploy(package, {"substitute_in": ["*.css"]})
    assert "no file of the package is named by '*.css'" in run.text(Stream.WARNING)
    for glob in ("../*", "/etc/*", "a/../../b"):
        run = rig.deploy(package, {"substitute_in": [glob]})
        assert "must stay inside the package" in run.outcome["message"]


def test_a_link_that_a_script_made_is_not_written_through(rig, tmp_path):
    victim = tmp_path / "victim.html"
    victim.write_text("#{Greeting}")
    package = make_zip(tmp_path / "p.zip", {"PreDeploy.sh": f"ln -s {victim} evil.html"})
    run = rig.deploy(package, {"substitute_in": ["*.html"]}, variables={"Greeting": "x"})
    assert run.outcome["state"] == "succeeded"
    assert victim.read_text() == "#{Greeting}"


@pytest.mark.parametrize("path", ["relative/path", "/srv/../etc"])
def test_install_to_must_be_absolute_and_plain(rig, tmp_path, path):
    run = rig.deploy(make_zip(tmp_path / "p.zip", {"a": "1"}), {"install_to": path})
    assert "install_to must be an absolute path" in run.outcome["message"]


def test_a_truncated_package_fails_clearly_and_leaves_nothing(rig, tmp_path):
    package = make_zip(tmp_path / "p.zip", {"a": "1" * 5000})
    package.write_bytes(package.read_bytes()[:-30])
    run = rig.deploy(package, {"install_to": str(tmp_path / "site")})
    assert run.outcome["state"] == "failed"
    assert run.outcome["message"].startswith("ARC_FORMAT")
    assert [path for path in (tmp_path / "site/releases").rglob("*") if path.name != ".manyarm"] == []
    assert entries(rig.home)[0]["succeeded"] is False


def test_settings_that_are_no_json_are_named(rig, tmp_path):
    package = make_zip(tmp_path / "p.zip", {"settings.json": '{"a": 1,}'})
    run = rig.deploy(package, {"structured": ["settings.json"]}, variables={"a": "2"})
    assert run.outcome["state"] == "failed"
    assert run.outcome["message"].startswith("settings.json:1: not well-formed JSON")


XDT = 'xmlns:xdt="http://schemas.microsoft.com/XML-Document-Transform"'


def test_xml_is_transformed_before_its_values_are_replaced(any_rig, tmp_path):
    files = {
        "Web.config": "\ufeff<a>\r\n  <b c='1'/>\r\n</a>\r\n",
        "Web.Production.config": f'<a {XDT}><b d="#{{Level}}" xdt:Transform="SetAttributes"/></a>',
        "app.yaml": "db:  # the one\n  port: 1\n",
    }
    run = any_rig.deploy(
        make_zip(tmp_path / "p.zip", files),
        {
            "substitute_in": ["Web.*.config"],
            "transforms": ["Web.#{Manyarm.Environment.Name}.config => Web.config"],
            "structured": ["Web.config", "*.yaml"],
            "install_to": str(tmp_path / "s"),
        },
        variables={
            "/a/b/@c": "2",
            "Level": "3",
            "/a/b/@d": "4",
            "db:port": "5",
            "Manyarm.Environment.Name": "Production",
        },
    )
    assert run.outcome["state"] == "succeeded", run.text()
    current = tmp_path / "s/current"
    assert (current / "Web.config").read_bytes().decode() == "\ufeff<a>\r\n  <b c='2' d=\"4\"/>\r\n</a>\r\n"
    assert (current / "app.yaml").read_text() == "db:  # the one\n  port: 5\n"
    assert "transformed Web.config by Web.Production.config: 1 changes" in run.text(Stream.INFO)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("Web.config", "property transforms: expected FROM => TO, found 'Web.config'"),
        ("a.config => Web.config", "property transforms: 'a.config => Web.config' names 0 transforms and 1 files"),
        ("b.config => Web.config", "b.config:2: Remove: no <x> of the file is meant by this one"),
        ("b.config => bad.xml", "bad.xml:1: not well-formed XML: syntax error"),
    ],
)
def test_a_transform_that_cannot_be_done_fails_in_one_sentence(rig, tmp_path, rule, sentence):
    files = {"Web.config": "<a/>", "b.config": f'<a {XDT}>\n<x xdt:Transform="Remove"/></a>', "bad.xml": "x"}
    run = rig.deploy(make_zip(tmp_path / "p.zip", files), {"transforms": [rule]})
    assert (run.outcome["state"], run.outcome["message"]) == ("failed", sentence)


def test_secrets_reach_files_by_reference_and_are_masked_in_the_log(rig, tmp_path):
    package = make_zip(tmp_path / "p.zip", {"app.conf": "token=#{ApiToken}\n", "Deploy.sh": "cat app.conf"})
    run = rig.deploy(
        package,
        {"substitute_in": ["app.conf"], "install_to": str(tmp_path / "s")},
        secrets={"ApiToken": "tok-#{x}-123456"},
    )
    assert run.outcome["state"] == "succeeded", run.text()
    assert (tmp_path / "s/current/app.conf").read_text() == "token=tok-#{x}-123456\n"
    assert run.out == "token=***\n"
    assert json.dumps(run.outcome).find("tok-#{x}") < 0
