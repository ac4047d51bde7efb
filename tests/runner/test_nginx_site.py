"""nginx-site on a real nginx with a configuration of its own: taken by new workers, or the old site is there again."""

import http.client
import os
import shutil
import socket
import stat
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.contract.spool import Stream
from tests.runner.step_examples import example
from tests.services.machine import machine
from tests.services.requires import requires

MAIN = """worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; return 200 "main"; }}
    include {folder}/conf.d/*.conf;
    include {folder}/sites-enabled/*;
}}
"""
QUICK = {"wait_s": 10}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Web:
    """One nginx of this test, with a site `web` that answers on a port of its own."""

    def __init__(self, folder):
        self.folder, self.port, self.main_port = folder, free_port(), free_port()
        self.config = folder / "nginx.conf"
        self.config.write_text(MAIN.format(folder=folder, port=self.main_port))
        self.places = {"site": "web", "nginx_config": str(self.config), "prefix": str(folder), **QUICK}

    @contextmanager
    def running(self):
        path = os.environ["PATH"] + ":/usr/sbin"
        command = [
            shutil.which("nginx", path=path),
            "-p",
            str(self.folder),
            "-c",
            str(self.config),
            "-g",
            "daemon off;",
        ]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while not self.get(self.main_port):
                assert process.poll() is None, (self.folder / "error.log").read_text()
                time.sleep(0.02)
            yield self
        finally:
            process.terminate()
            process.wait(20)

    def site(self, says, port=None, more=""):
        return f'server {{ listen 127.0.0.1:{port or self.port}; return 200 "{says}"; {more}}}\n'

    def get(self, port=None):
        """What is answered; empty where nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except ConnectionError:
            return ""
        finally:
            connection.close()

    def workers(self):
        main = int((self.folder / "nginx.pid").read_text())
        return sorted(Path(f"/proc/{main}/task/{main}/children").read_text().split())

    def files(self):
        found = (path for path in self.folder.rglob("*") if "conf.d" in path.parts or "sites-" in str(path))
        return {
            str(path): os.readlink(path) if path.is_symlink() else path.read_text()
            for path in found
            if not path.is_dir()
        }


@pytest.fixture
def web(tmp_path):
    requires("nginx")
    folder = tmp_path / "nginx"
    for name in ("sites-available", "sites-enabled", "conf.d"):
        (folder / name).mkdir(parents=True)
    with Web(folder).running() as found:
        yield found


@pytest.fixture
def put(rig, web):
    """Runs one nginx-site step to its end."""

    def run(secrets=None, mode=None, **properties):
        more = {"mode": mode} if mode else {}
        return rig.run(
            rig.job("nginx-site", {**web.places, **properties}, variables={"Word": "hello"}, **more), secrets
        )

    return run


def test_a_site_is_written_enabled_and_answers(any_rig, web):
    job = any_rig.job("nginx-site", {**web.places, "config": web.site("#{Word}")}, variables={"Word": "hello"})
    run = any_rig.run(job)
    assert run.outcome["state"] == "succeeded", run.text()
    assert web.get() == "hello"
    assert os.readlink(web.folder / "sites-enabled/web") == "../sites-available/web"
    assert "nginx took its new configuration" in run.text(Stream.INFO)


def test_without_sites_enabled_the_file_lies_in_conf_d_or_where_it_is_said(put, web):
    (web.folder / "sites-enabled").rmdir()
    assert put(config=web.site("one")).outcome["state"] == "succeeded"
    assert list(web.files()) == [f"{web.folder}/conf.d/web.conf"]
    other = free_port()
    run = put(site="other", config=web.site("two", other), directory=str(web.folder / "conf.d"))
    assert run.outcome["state"] == "succeeded", run.text()
    assert (web.get(), web.get(other)) == ("one", "two")


def test_a_site_that_is_unchanged_and_served_is_left_alone(put, web):
    assert put(config=web.site("one")).outcome["state"] == "succeeded"
    before = web.workers()
    again = put(config=web.site("one"))
    assert again.outcome["state"] == "succeeded"
    assert "nothing to do" in again.text(Stream.INFO)
    assert web.workers() == before


def test_a_site_that_was_written_and_not_loaded_is_loaded_by_the_next_run(put, web):
    assert put(config=web.site("one")).outcome["state"] == "succeeded"
    (web.folder / "sites-available/web").write_text(web.site("two"))
    assert put(config=web.site("two")).outcome["state"] == "succeeded"
    assert web.get() == "two"


def test_a_change_takes_the_old_ones_place_and_a_switch_goes_back(put, web):
    for says, mode in (("one", None), ("two", None), ("one", "switch")):
        assert put(config=web.site(says), mode=mode).outcome["state"] == "succeeded"
        assert web.get() == says


def test_a_site_is_taken_away(put, web):
    assert put(config=web.site("one")).outcome["state"] == "succeeded"
    run = put(remove=True)
    assert run.outcome["state"] == "succeeded", run.text()
    assert web.files() == {}
    assert web.get() == ""
    assert "nothing to do" in put(remove=True).text(Stream.INFO)


def busy(web):
    """A port that another program holds: nginx sees that only when it reloads."""
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen()
    return other


FAILURES = {
    "no nginx configuration": (
        "server { listen 127.0.0.1:1; no_such_directive; }",
        'unknown directive "no_such_directive"',
    ),
    "a brace is missing": ("server {", "unexpected end of file"),
    "a file that is not there": ("include /no/such/file;", "open() "),
    "a port that is taken": ("server {{ listen 127.0.0.1:{busy}; }}", "Address already in use"),
}


@pytest.mark.parametrize("old", ["before it another site", "nothing before it"])
@pytest.mark.parametrize(("config", "sentence"), FAILURES.values(), ids=FAILURES)
def test_a_failure_leaves_what_was_served_before(put, web, old, config, sentence):
    if old.startswith("before"):
        assert put(config=web.site("old")).outcome["state"] == "succeeded"
    before = web.files()
    with busy(web) as other:
        run = put(
            config=config.replace("{{", "{").replace("}}", "}").replace("{busy}", str(other.getsockname()[1])), wait_s=3
        )
        assert run.outcome["state"] == "failed"
        assert sentence in run.outcome["message"], run.text()
    assert web.files() == before
    assert web.get() == ("old" if before else "")
    assert "is as it was before" in run.text(Stream.INFO)
    # What is served next is what stands on the disk.
    assert put(config=web.site("new")).outcome["state"] == "succeeded"
    assert web.get() == "new"


def test_a_configuration_that_was_broken_before_is_not_blamed_on_the_site(put, web):
    (web.folder / "conf.d/other.conf").write_text("nonsense;")
    run = put(config=web.site("one"))
    assert "the fault was there before" in run.outcome["message"]
    assert list(web.files()) == [f"{web.folder}/conf.d/other.conf"]


def test_a_site_that_nginx_does_not_read_is_told_and_taken_back(put, web):
    (web.folder / "elsewhere").mkdir()
    run = put(config=web.site("one"), directory=str(web.folder / "elsewhere"))
    assert "no `include` of its configuration names it" in run.outcome["message"]
    assert list((web.folder / "elsewhere").iterdir()) == []


def test_the_error_logs_lines_are_shown_and_masked(put, web):
    with busy(web) as other:
        config = f"server {{ listen 127.0.0.1:{other.getsockname()[1]}; }} # #{{Token}}"
        run = put({"Token": str(other.getsockname()[1])}, config=config, wait_s=3)
    assert "nginx | " in run.text(Stream.WARNING)
    assert str(other) not in run.text()
    assert "127.0.0.1:***" in run.text(Stream.WARNING)


def test_a_secret_makes_the_file_private(put, web):
    config = web.site("one", more='add_header X-Token "#{Token}";')
    assert put({"Token": "s3cret-token"}, config=config).outcome["state"] == "succeeded"
    assert stat.S_IMODE((web.folder / "sites-available/web").stat().st_mode) == 0o600
    assert web.get() == "one"


def test_a_site_out_of_a_file_is_filled_in(put, web, tmp_path):
    (tmp_path / "web.conf").write_text(web.site("#{Word} there"))
    assert put(config_file=str(tmp_path / "web.conf")).outcome["state"] == "succeeded"
    assert web.get() == "hello there"


def test_a_preview_shows_the_difference_and_changes_nothing(put, web):
    assert put(config=web.site("one")).outcome["state"] == "succeeded"
    before, workers = web.files(), web.workers()
    run = put(config=web.site("two"), mode="preview")
    assert "-server { listen 127.0.0.1" in run.text(Stream.INFO)
    assert '"two"' in run.text(Stream.INFO)
    assert [event["path"] for event in run.events if event["event"] == "file"] == [f"{web.folder}/sites-available/web"]
    assert (web.files(), web.workers()) == (before, workers)
    assert "the site would not change" in put(config=web.site("one"), mode="preview").text(Stream.INFO)


def test_a_cancel_puts_the_old_site_back(rig, put, web):
    assert put(config=web.site("old")).outcome["state"] == "succeeded"
    before = web.files()
    with busy(web) as other:
        config = f"server {{ listen 127.0.0.1:{other.getsockname()[1]}; }}"
        run = rig.start(rig.job("nginx-site", {**web.places, "config": config, "wait_s": 60}, grace_s=20))
        run.until("nginx accepts its configuration")
        (run.folder / "cancel").write_text("{}")
        run.wait()
    assert run.outcome["state"] == "cancelled"
    assert web.files() == before
    assert web.get() == "old"


REFUSED = {
    "a name with a path in it": ({"site": "../x"}, "property site: expected a name"),
    "no site at all": ({"config": ""}, "properties config and config_file: expected one of them"),
    "two sites": ({"config_file": "/x"}, "properties config and config_file: expected one of them"),
    "a site to take away": ({"remove": True}, "properties config and remove: expected one of them"),
    "a relative directory": ({"directory": "x"}, "property directory: expected an absolute path"),
    "a relative configuration": ({"nginx_config": "nginx.conf"}, "property nginx_config: expected an absolute path"),
    "no such program": ({"nginx": "no-nginx"}, "nginx is not installed on this machine: no program 'no-nginx'"),
    "a configuration without sites": ({"nginx_config": "/no/nginx.conf"}, "/no has neither sites-available"),
}


@pytest.mark.parametrize(("properties", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_said_in_one_sentence(put, web, properties, sentence):
    run = put(**{"config": web.site("one"), **properties})
    assert run.outcome["state"] == "failed"
    assert sentence in run.outcome["message"], run.outcome["message"]
    assert web.files() == {}


def test_an_nginx_that_does_not_run_is_told(put, web, tmp_path):
    main = web.config.read_text().replace(f"{web.folder}/nginx.pid", f"{tmp_path}/other.pid")
    (web.folder / "other.conf").write_text(main)
    run = put(config=web.site("one"), nginx_config=str(web.folder / "other.conf"))
    assert "nginx does not run" in run.outcome["message"]
    assert web.files() == {}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A machine with the distribution's nginx as a service of systemd."""
    requires("systemd")
    requires("nginx")
    folder = tmp_path_factory.mktemp("box")
    with machine(folder) as found:
        main = "user root;\npid /run/nginx.pid;\nevents {}\nhttp { include /etc/nginx/sites-enabled/*; }\n"
        found.own(
            "/etc/nginx",
            {
                "nginx.conf": main,
                "sites-available/.keep": "",
                "sites-enabled/default": "server { listen 80; return 200 old; }",
            },
        )
        found.own("/var/log/nginx", {})
        found.own("/var/lib/nginx", {})
        unit = "[Service]\nType=forking\nPIDFile=/run/nginx.pid\nExecStart=/usr/sbin/nginx\nExecReload=/usr/sbin/nginx -s reload\n"
        (found.over / "lib/systemd/system/nginx.service").write_text(unit)
        found.boot()
        found.run("systemctl", "start", "nginx")
        yield found


@pytest.mark.parametrize("reload_with", ["nginx", "systemctl"])
def test_the_machines_own_nginx_needs_nothing_but_the_site(rig, box, reload_with):
    rig.command = box.wrapped(*rig.command)
    for says in ("one", "two"):
        config = f'server {{ listen 8080; return 200 "{reload_with} {says}"; }}'
        run = rig.run(rig.job("nginx-site", {"site": "web", "config": config, "reload_with": reload_with}))
        assert run.outcome["state"] == "succeeded", run.text()
        assert box.run("curl", "-s", "http://127.0.0.1:8080/") == f"{reload_with} {says}"
    broken = rig.run(rig.job("nginx-site", {"site": "web", "config": "server {", "reload_with": reload_with}))
    assert broken.outcome["state"] == "failed"
    assert box.run("curl", "-s", "http://127.0.0.1:8080/") == f"{reload_with} two"
    assert box.run("curl", "-s", "http://127.0.0.1/") == "old"


def test_the_pages_example_leads_to_the_shop(rig, box):
    rig.command = box.wrapped(*rig.command)
    shop = {"site": "web", "config": 'server { listen 8080; return 200 "the shop"; }'}
    assert rig.run(rig.job("nginx-site", shop)).outcome["state"] == "succeeded"
    run = rig.run(rig.job("nginx-site", example("nginx-site")[0]["properties"], variables={"Domain": "shop.example"}))
    assert run.outcome["state"] == "succeeded", run.text()
    assert box.run("curl", "-s", "-H", "Host: shop.example", "http://127.0.0.1/") == "the shop"
    assert box.run("curl", "-s", "http://127.0.0.1/") == "old"
