"""docs/install.md is followed command by command: what is ours is run as it stands there, what is the system's is looked at."""

import re
import shlex
import subprocess
import tarfile
from pathlib import Path

import pytest

from config.settings import HubSettings, SpokeSettings
from tests.services.requires import requires
from tests.services.whole import BIN, Whole, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text()
PASSWORD = "six words that nobody ever guesses\n"
SYSTEM = {"apt-get", "systemctl", "useradd", "python3", "ln", "install", "rm", "cp", "export", "/opt/manyarm/bin/pip"}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands():
    return [line for block in blocks("sh") for line in block.splitlines()]


def words_of(line):
    """A command of ours without what only says as whom it runs; None for one of the system."""
    inner = re.sub(r"^export MANYARM_API_KEY=\$\((.*)\)$", r"\1", line)
    words = shlex.split(re.sub(r"^runuser -u [\w-]+ -- ", "", inner), comments=True)
    return words if Path(words[0]).name in {"manyarm", "manyarm-spoke"} else None


class Reader:
    """Somebody who types what the page says."""

    def __init__(self, hub):
        self.hub = hub
        self.enrolling = None
        self.code = ""
        self.done = []

    def type(self, words):
        self.done.append(" ".join(words[:3]))
        special = {
            "init": self.init,
            "key": self.prove,
            "user": self.user,
            "join-code": self.join_code,
            "enrol": self.enrol,
            "spoke": self.approve,
        }
        return special.get(words[1], self.plain)(words)

    def plain(self, words):
        return self.hub.manyarm(*words[1:])

    def init(self, words):
        self.recovery = re.search(r"mrk1-\S+", self.hub.manyarm("init"))[0]

    def prove(self, words):
        assert "opens this hub" in self.hub.manyarm(*words[1:], given=self.recovery + "\n")

    def user(self, words):
        said = self.hub.manyarm(*words[1:], given=PASSWORD)
        if words[2] == "api-key":
            self.hub.environ["MANYARM_API_KEY"] = said.strip()

    def join_code(self, words):
        made = self.hub.run("manyarm", *words[1:])
        self.code = made.stdout.strip()
        beside = "--kind" in words
        assert ("--join-file FILE" if beside else "curl -fsSk https://") in made.stderr

    def enrol(self, words):
        typed = [self.code if word == "JOIN-CODE" else word for word in words[1:]]
        self.enrolling = subprocess.Popen(
            [BIN / "manyarm-spoke", *typed], env=self.hub.environ, stdout=subprocess.PIPE, text=True
        )
        until(lambda: self.hub.json("spoke", "list", "--json"), "the spoke did not ask")

    def approve(self, words):
        self.hub.manyarm(*words[1:], given="y\n")
        said, _ = self.enrolling.communicate(timeout=60)
        assert "Enrolled as web-1" in said
        shown = self.hub.json("spoke", "list", "--json")[0]["thumbprint"]
        assert shown in self.hub.run("manyarm-spoke", "thumbprint").stdout


def test_every_command_of_the_page_works_in_its_order(tmp_path, monkeypatch):
    requires("rabbitmq")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text(blocks("yaml")[0])
    (tmp_path / "index.html").write_text("a shop")
    with tarfile.open(tmp_path / "shop.1.0.0.tar.gz", "w:gz") as out:
        out.add(tmp_path / "index.html", "index.html")
    hub = Whole(tmp_path, MANYARM_SPOKE_HOME=str(tmp_path / "web-1"))
    reader = Reader(hub)
    try:
        for line in commands():
            words = words_of(line)
            if words is not None:
                said = reader.type(words)
            if line == "systemctl enable --now manyarm":
                hub.start()
            if line == "systemctl enable --now manyarm-spoke":
                hub.start_spoke("web-1")
        assert "succeeded" in hub.manyarm("task", "list")
        assert said is not None
        installed = list((tmp_path / "web-1" / "applications" / "shop").glob("current/index.html"))
        assert [file.read_text() for file in installed] == ["a shop"]
    finally:
        hub.stop()
    assert {"manyarm init", "manyarm doctor", "manyarm target list"} <= {" ".join(w.split()[:3]) for w in reader.done}


def test_the_page_names_no_command_setting_or_file_that_is_not_there():
    for line in commands():
        words = shlex.split(re.sub(r"^runuser -u [\w-]+ -- ", "", line))
        assert words_of(line) is not None or words[0] in SYSTEM, line
        for unit in re.findall(r"systemctl enable --now (\S+)", line) + re.findall(r"systemd/([\w-]+)\.service", line):
            assert (ROOT / "config" / "systemd" / f"{unit}.service").exists(), line
    for line in blocks("toml")[0].splitlines():
        assert line.partition(" =")[0] in HubSettings.__dataclass_fields__
    for name in re.findall(r"`(portal_\w+|trusted_\w+)`", PAGE):
        assert name in HubSettings.__dataclass_fields__
    fields = {field.upper() for field in HubSettings.__dataclass_fields__}
    fields |= {f"SPOKE_{field.upper()}" for field in SpokeSettings.__dataclass_fields__}
    for name in set(re.findall(r"MANYARM_(?!URL|API_KEY)(\w+)=", PAGE)):
        assert name in fields, name
