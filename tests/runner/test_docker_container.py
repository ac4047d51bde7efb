"""docker-container on a real podman: the new container works, or the old one runs again."""

import hashlib
import json
from pathlib import Path

import pytest

from runner.contract.spool import Stream
from tests.runner.step_examples import example
from tests.services.containers import BASE, add_base_image, image_archive, lay_out
from tests.services.machine import machine
from tests.services.requires import requires

SERVE = ["/bin/sh", "-c", "echo $WORD > /www/index.html; exec httpd -f -p $PORT -h /www"]
QUICK = {"network": "host", "settle_s": 0, "stop_s": 0, "wait_s": 15, "restart": "no", "image": BASE}


class Place:
    """The machine, its podman, and what stands there."""

    def __init__(self, box, programs):
        self.box, self.programs = box, programs

    def podman(self, *words):
        return self.box.run(str(self.programs / "podman"), *words)

    def inspect(self, name):
        return json.loads(self.podman("container", "inspect", name))[0]

    def names(self, name):
        """Containers of a name, its second names too, and whether they run."""
        listed = json.loads(self.podman("ps", "-a", "--filter", f"name=^{name}", "--format", "json") or "[]")
        return sorted(f"{found['Names'][0]} {found['State']}" for found in listed)

    def get(self, port):
        return self.box.run("curl", "-s", "--retry", "8", "--retry-connrefused", f"http://127.0.0.1:{port}/")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    requires("systemd")
    requires("podman")
    with machine(tmp_path_factory.mktemp("box")) as box:
        programs = lay_out(box)
        box.boot()
        add_base_image(box, programs)
        yield Place(box, programs)


@pytest.fixture
def name(request):
    """A container's name, and a port, that no other test has."""
    return f"t{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"


@pytest.fixture
def port(name):
    return 10_000 + int(name[1:], 16) % 20_000


@pytest.fixture
def ready(place):
    def prepare(rig):
        rig.command = place.box.wrapped(*rig.command)
        rig.environment["PATH"] = f"{place.programs}:/usr/sbin:/usr/bin:/sbin:/bin"
        return rig

    return prepare


@pytest.fixture
def container(rig, ready, place, name, port):
    """Runs one docker-container step to its end."""
    ready(rig)

    def job(mode=None, package=None, version="1.0.0", says="one", **properties):
        environment = [f"WORD={says}", f"PORT={port}", *properties.pop("environment", [])]
        given = {"name": name, **QUICK, "engine": "podman", "command": SERVE, "environment": environment, **properties}
        reference = package and {
            "id": f"Shop.{name}", "version": version, "extension": "tar", "manifest_id": "5" * 32,
            "sha256": hashlib.sha256(Path(package).read_bytes()).hexdigest(),
        }  # fmt: skip
        more = {"mode": mode} if mode else {}
        return rig.job("docker-container", given, package=reference or None, **more)

    def run(secrets=None, package=None, mode=None, **more):
        packages = {"5" * 32: str(package)} if package and mode != "switch" else {}
        return rig.run(job(mode, package, **more), secrets, packages=packages)

    run.job = job
    return run


def test_a_container_is_made_and_answers(any_rig, ready, place, name, port):
    ready(any_rig)
    properties = {
        **QUICK, "name": name, "engine": "podman", "command": SERVE,
        "environment": ["WORD=#{Word}", f"PORT={port}"], "settle_s": 1,
    }  # fmt: skip
    run = any_rig.run(any_rig.job("docker-container", properties, variables={"Word": "hello"}))
    assert run.outcome["state"] == "succeeded", run.text()
    assert place.get(port) == "hello"
    assert place.names(name) == [f"{name} running"]
    labels = place.inspect(name)["Config"]["Labels"]
    assert (labels["manyarm.project"], labels["manyarm.release"]) == ("Storefront", "1.0.0")
    place.podman("rm", "-f", "-t", "0", name)


def test_the_new_one_takes_the_old_ones_place(container, place, name, port):
    for says in ("one", "two"):
        run = container(says=says)
        assert run.outcome["state"] == "succeeded", run.text()
        assert place.get(port) == says
        assert place.names(name) == [f"{name} running"]


def test_one_that_is_as_it_should_be_is_left_alone(container, place, name):
    assert container().outcome["state"] == "succeeded"
    before = place.inspect(name)["Id"]
    again = container()
    assert "nothing to do" in again.text(Stream.INFO)
    assert place.inspect(name)["Id"] == before
    place.podman("stop", "-t", "0", name)
    assert container().outcome["state"] == "succeeded"
    assert place.names(name) == [f"{name} running"]


@pytest.mark.parametrize(
    "change",
    [{"user": "1000"}, {"environment": ["A=1"]}, {"volumes": ["/tmp:/data:ro"]}, {"options": ["--hostname=x"]}],
)
def test_any_change_of_what_it_should_be_replaces_it(container, place, name, change):
    assert container(command=["/bin/sleep", "1000"]).outcome["state"] == "succeeded"
    before = place.inspect(name)["Id"]
    assert container(command=["/bin/sleep", "1000"], **change).outcome["state"] == "succeeded"
    assert place.inspect(name)["Id"] != before


FAILURES = {
    "ends at once": ({"command": ["/bin/sh", "-c", "echo dying; exit 3"]}, "exit code 3"),
    "ends a moment later": ({"command": ["/bin/sh", "-c", "sleep 0.5; exit 4"], "settle_s": 5}, "exit code 4"),
    "is started anew for ever": ({"command": ["/bin/false"], "restart": "always"}, "again and again"),
    "its program is not there": ({"command": ["/no/such"]}, "cannot be started"),
    "is not healthy": ({"health_command": "false", "options": ["--health-retries=1"]}, "unhealthy"),
    "does not become healthy": (
        {"health_command": "false", "options": ["--health-retries=1000"], "wait_s": 1},
        "is not well after 1 seconds",
    ),
    "cannot be made": ({"network": "no-such-network"}, "`podman create` failed"),
    "its image is not there": ({"image": "localhost/no:1", "pull": "never"}, "is not on this machine"),
    "its image cannot be fetched": ({"image": "127.0.0.1:1/no:1"}, "cannot be fetched"),
}


CASES = [
    *((failure, "running") for failure in FAILURES),
    *((failure, old) for failure in ("ends at once", "its program is not there") for old in ("exited", "nothing")),
]


@pytest.mark.parametrize(("failure", "old"), CASES, ids=[f"{failure}, before it {old}" for failure, old in CASES])
def test_a_failure_leaves_what_was_there_before(container, place, name, port, failure, old):
    properties, sentence = FAILURES[failure]
    if old != "nothing":
        assert container(says="old").outcome["state"] == "succeeded"
    if old == "exited":
        place.podman("stop", "-t", "0", name)
    before = place.names(name), place.names(name) and place.inspect(name)["Id"]
    run = container({"Token": "s3cret-token"}, **properties)
    assert run.outcome["state"] == "failed"
    assert sentence in run.outcome["message"], run.text()
    assert (place.names(name), place.names(name) and place.inspect(name)["Id"]) == before
    if old == "running":
        assert place.get(port) == "old"


def test_what_it_printed_last_is_shown_and_masked(container, name):
    run = container({"Token": "s3cret-token"}, command=["/bin/echo", "#{Token}"])
    assert "a secret would stand on the command line" in run.outcome["message"]
    command = ["/bin/sh", "-c", "echo dying of $T; exit 3"]
    run = container({"Token": "s3cret-token"}, command=command, environment=["T=#{Token}"])
    assert f"{name} | dying of ***" in run.text(Stream.WARNING)
    assert "s3cret-token" not in run.text()


def test_a_container_with_a_health_check_is_waited_for(container, place, name):
    command = ["/bin/sh", "-c", "sleep 1; touch /tmp/well; exec sleep 1000"]
    run = container(command=command, health_command="test -e /tmp/well", options=["--health-retries=1000"])
    assert run.outcome["state"] == "succeeded", run.text()
    assert f"the container {name} is running, healthy" in run.text(Stream.INFO)


VALUES = {
    "EMPTY": "", "SPACES": "  a  b ", "QUOTES": "a\"b'c", "DOLLAR": "$HOME ${x} `id`", "SLASH": "a\\nb\\", "HASH": "a # b",
    "UNICODE": "grüße 😀", "EQUALS": "a=b=c", "JSON": '{"a": "b"}', "LONG": "x" * 50_000,
}  # fmt: skip


def test_every_value_reaches_the_environment_as_it_is(container, place, name):
    run = container(
        {f"V.{key}": value for key, value in VALUES.items()},
        command=["/bin/sleep", "1000"],
        environment=[f"{key}=#{{V.{key}}}" for key in VALUES],
    )
    assert run.outcome["state"] == "succeeded", run.text()
    found = dict(item.split("=", 1) for item in place.inspect(name)["Config"]["Env"])
    assert {key: found[key] for key in VALUES} == VALUES


def test_no_secret_stands_on_a_command_line_or_on_the_disk(container, rig, place, name, tmp_path):
    seen = tmp_path / "seen"
    program = tmp_path / "bin/podman"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {seen}; env >> {seen}\nexec {place.programs}/podman "$@"\n')
    program.chmod(0o755)
    rig.environment["PATH"] = f"{program.parent}:{rig.environment['PATH']}"
    run = container({"Token": "s3cret-token"}, environment=["TOKEN=#{Token}"], command=["/bin/sleep", "1000"])
    assert run.outcome["state"] == "succeeded", run.text()
    assert "TOKEN=s3cret-token" in place.inspect(name)["Config"]["Env"]
    assert "create" in seen.read_text()
    assert "s3cret-token" not in seen.read_text()
    written = [path for path in run.folder.rglob("*") if path.is_file()]
    assert all(b"s3cret-token" not in path.read_bytes() for path in written)


def test_a_port_that_is_taken_is_said(container, place, name, port):
    assert container().outcome["state"] == "succeeded"
    other = {"name": f"{name}-other", "network": "", "ports": [f"{port}:80"]}
    run = container(**other)
    assert run.outcome["state"] == "failed"
    assert "a port of it is in use by another program on this machine" in run.outcome["message"]
    assert place.names(f"{name}-other") == []


def test_a_port_leads_into_the_container(container, place, name, port):
    run = container(network="", ports=[f"{port}:{port}"])
    assert run.outcome["state"] == "succeeded", run.text()
    assert place.get(port) == "one"


@pytest.mark.parametrize("cut", ["made", "renamed", "stopped", "in place", "started"])
def test_a_run_that_was_cut_short_is_taken_back_by_the_next(container, place, name, port, cut):
    assert container(says="old").outcome["state"] == "succeeded"
    place.podman("create", "--name", f"{name}.next", "--network=host", BASE, "/bin/sleep", "1000")
    if cut != "made":
        place.podman("rename", name, f"{name}.before")
    if cut in ("stopped", "in place", "started"):
        place.podman("stop", "-t", "0", f"{name}.before")
    if cut in ("in place", "started"):
        place.podman("rename", f"{name}.next", name)
    if cut == "started":
        place.podman("start", name)
    run = container(says="old")
    assert run.outcome["state"] == "succeeded", run.text()
    assert "an earlier run was cut short" in run.text(Stream.WARNING)
    assert "nothing to do" in run.text(Stream.INFO)
    assert place.names(name) == [f"{name} running"]
    assert place.get(port) == "old"


def test_a_cancel_has_the_old_one_run_again(rig, container, place, name, port):
    assert container(says="old").outcome["state"] == "succeeded"
    run = rig.start({**container.job(says="new", settle_s=100), "grace_s": 20})
    run.until("stopped the old container")
    (run.folder / "cancel").write_text("{}")
    run.wait()
    assert run.outcome["state"] == "cancelled"
    assert place.names(name) == [f"{name} running"]
    assert place.get(port) == "old"


def test_what_somebody_else_made_is_left_alone(container, place, name):
    place.podman("create", "--name", name, BASE, "/bin/sleep", "1000")
    run = container()
    assert "that no step of this kind made" in run.outcome["message"]
    assert place.names(name) == [f"{name} created"]


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_an_image_out_of_a_package_is_loaded_once_and_a_switch_needs_no_byte(
    container, place, name, port, tmp_path, form
):
    first = image_archive(place.box, place.programs, tmp_path / "1.tar", f"localhost/{name}:1", form=form)
    second = image_archive(place.box, place.programs, tmp_path / "2.tar", f"localhost/{name}:2", form=form)
    for package, version in ((first, "1.0.0"), (second, "2.0.0"), (second, "2.0.0")):
        run = container(package=package, version=version, image="", says=version)
        assert run.outcome["state"] == "succeeded", run.text()
        assert place.get(port) == version
    assert "is on this machine already" in run.text(Stream.INFO)
    back = container(package=first, version="1.0.0", image="", says="1.0.0", mode="switch")
    assert back.outcome["state"] == "succeeded", back.text()
    assert place.get(port) == "1.0.0"
    assert place.inspect(name)["Config"]["Labels"]["image"] == f"localhost/{name}:1"


def test_old_images_out_of_packages_go_and_a_switch_to_them_says_so(container, place, name, tmp_path):
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        package = image_archive(place.box, place.programs, tmp_path / f"{version}.tar", f"localhost/{name}:{version}")
        run = container(package=package, version=version, image="", keep_images=1)
        assert run.outcome["state"] == "succeeded", run.text()
    kept = [
        line for line in place.podman("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines() if name in line
    ]
    assert sorted(line.rpartition(":")[2].partition("-")[0] for line in kept) == ["2.0.0", "3.0.0"], kept
    assert all(line.startswith(f"localhost/manyarm/shop-{name}:") for line in kept)
    run = container(package=tmp_path / "1.0.0.tar", version="1.0.0", image="", mode="switch")
    assert "is not on this machine any more" in run.outcome["message"]
    assert "deploy it instead" in run.outcome["message"]


def test_of_several_images_in_an_archive_one_is_named(container, place, name, tmp_path):
    names = (f"localhost/{name}:a", f"localhost/{name}:b")
    package = image_archive(place.box, place.programs, tmp_path / "p.tar", *names)
    run = container(package=package, image="")
    assert "holds 2 images" in run.outcome["message"]
    run = container(package=package, image=names[1])
    assert run.outcome["state"] == "succeeded", run.text()
    assert place.inspect(name)["Config"]["Labels"]["image"] == names[1]


def test_a_preview_shows_what_would_differ_and_changes_nothing(container, place, name):
    first = container(mode="preview", environment=["TOKEN=#{Token}"], secrets={"Token": "s3cret-token"})
    assert f"the container {name} would be made" in first.text(Stream.INFO)
    assert place.names(name) == []
    assert container(command=["/bin/sleep", "1000"]).outcome["state"] == "succeeded"
    before = place.inspect(name)["Id"]
    changed = container(mode="preview", command=["/bin/sleep", "2000"], ports=["1:2"])
    assert '+  "2000"' in changed.text(Stream.INFO)
    assert "would be replaced" in changed.text(Stream.INFO)
    same = container(mode="preview", command=["/bin/sleep", "1000"])
    assert "would not change" in same.text(Stream.INFO)
    other = container(mode="preview", command=["/bin/sleep", "1000"], says="two")
    assert "a value of its environment, is another" in other.text(Stream.INFO)
    assert (place.names(name), place.inspect(name)["Id"]) == ([f"{name} running"], before)


REFUSED = {
    "a name that is an option": ({"name": "--privileged"}, "property name: expected letters"),
    "an image that is an option": ({"image": "--privileged"}, "property image: expected a name"),
    "no image": ({"image": ""}, "property image: a step without a package needs"),
    "no port": ({"ports": ["http"]}, "property ports: expected"),
    "no volume": ({"volumes": ["/data"]}, "property volumes: expected"),
    "a volume out of its folder": ({"volumes": ["/srv/../etc:/x"]}, "property volumes: expected"),
    "no network": ({"network": "a b"}, "property network: expected one word"),
    "no option": ({"options": ["privileged"]}, "property options: expected words such as"),
    "an option that the step says": ({"options": ["--name=x"]}, "--name is said by a property"),
    "no variable": ({"environment": ["A B=1"]}, "property environment: expected NAME=VALUE"),
    "a value that is too long": ({"environment": ["A=" + "x" * 70_000]}, "the value of A has over 60000 bytes"),
    "several lines": ({"environment": ["A=1\n2"]}, "the value of A has several lines"),
}


@pytest.mark.parametrize(("properties", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_said_in_one_sentence(container, place, name, properties, sentence):
    run = container(**properties)
    assert run.outcome["state"] == "failed"
    assert sentence in run.outcome["message"], run.outcome["message"]
    assert place.names(name) == []


def test_a_machine_without_docker_says_so(rig, ready, place):
    place.box.run(
        "sh",
        "-c",
        "for found in /usr/local/bin /usr/bin; do [ ! -e $found/docker ] || mount --bind /dev/null $found/docker; done",
    )
    run = ready(rig).run(rig.job("docker-container", {"name": "web", "image": "web:1", "engine": "docker"}))
    assert "docker: not installed on this machine" in run.outcome["message"]


# What docker itself says, word for word.
DAEMON = {
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?": (
        "docker's daemon does not answer: `systemctl start docker`"
    ),
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "
    '"http://%2Fvar%2Frun%2Fdocker.sock/v1.45/containers/json": dial unix /var/run/docker.sock: connect: permission denied': (
        "may not use docker: `usermod --append --groups docker"
    ),
}


@pytest.mark.parametrize(("words", "sentence"), DAEMON.items(), ids=["no daemon", "no right"])
def test_a_docker_that_cannot_be_used_is_explained(any_rig, tmp_path, words, sentence):
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    any_rig.environment["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    run = any_rig.run(any_rig.job("docker-container", {"name": "web", "image": "web:1"}))
    assert run.outcome["state"] == "failed"
    assert sentence in run.outcome["message"]


def test_the_pages_example_runs_the_shop(rig, ready, place):
    """But for the registry, which is none: the image is there by its name."""
    serve = "echo ok > /www/health; echo $GREETING > /www/index.html; exec httpd -f -p 80 -h /www"
    made = f"CMD {json.dumps(['/bin/sh', '-c', serve])}"
    image = "registry.example/shop:1.0.0"
    place.podman("import", f"--change={made}", str(place.box.folder / "base.tar"), image)
    ready(rig)
    properties = {**example("docker-container")[0]["properties"], "engine": "podman"}
    job = rig.job("docker-container", properties, variables={"Greeting": "good day", "Manyarm.Release.Number": "1.0.0"})
    run = rig.run(job, {"ApiToken": "s3cret-token"})
    assert run.outcome["state"] == "succeeded", run.text()
    assert "the container shop is running, healthy" in run.text(Stream.INFO)
    assert place.get(8080) == "good day"
    made = place.inspect("shop")
    assert [volume["Name"] for volume in made["Mounts"]] == ["shop-data"]
    assert "API_TOKEN=s3cret-token" in made["Config"]["Env"]
    place.podman("rm", "-f", "-t", "0", "shop")
