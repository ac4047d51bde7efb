"""`make demo`: starts a whole Manyarm here, deploys a real application with it, and checks that it answers."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Any

from demo.sample import VERSIONS, pack, sample_digest
from demo.ssh_machine import SshMachine
from demo.stage import Processes, Stage, StageFailed, wait_until

FOLDER = Path("var/demo").absolute()
# By name: the role that tells its ports. web-1 polls, web-2 listens, web-3 is reached by SSH, cloud-1 is no machine.
TARGETS = {"web-1": "north", "web-2": "east", "web-3": "south", "cloud-1": "west"}
ENVIRONMENTS = ("Development", "Production")
_BIN = Path(sys.executable).parent


class Demo:
    """The story, in the order in which a newcomer would do it by hand."""

    def __init__(self) -> None:
        self._stage = Stage.set_up(FOLDER, sample_digest())
        self._processes = Processes(self._stage)
        self._ssh = SshMachine(self._stage)
        self._key = ""
        self._rows: list[tuple[str, ...]] = []
        self.report: dict[str, Any] = {
            "portal": self._stage.portal,
            "api": f"{self._stage.portal}/api/v1",
            "api_key": "",
            "targets": [],
            "deployments": [],
            "ok": False,
        }

    def play(self) -> None:
        """Everything up to the table.

        Raises:
            StageFailed: A step did not go as it should.
        """
        self._ssh.start(self._processes)
        self._start_hub()
        self._say("What there is to deploy and where, as a file beside the code")
        self._show("manyarm", "apply", "-f", "demo/manyarm.yaml")
        self._start_targets()
        for number, version in enumerate(VERSIONS):
            self._say(f"Version {version}" + (", of which the hub has most already" if number else ""))
            file = pack(version, FOLDER)
            self._show("manyarm", "package", "push", str(file.relative_to(Path.cwd())))
            self._make_release(version)
            for environment in ENVIRONMENTS:
                self._deploy(version, environment)
        self._go_back_and_forth("Production")
        self.report["targets"] = self._get("/targets")["items"]
        self.report["ok"] = all(row["state"] == "succeeded" for row in self.report["deployments"])

    def serve(self, code: str) -> None:
        """On a terminal: keep everything running until Ctrl-C."""
        self._say("Look around")
        print(f"  {self._stage.portal}/setup?code={code}")
        print("  (the code works once and makes you an administrator)\n\nCtrl-C stops everything.")
        stopped = {"now": False}

        def stop(_number: int, _frame: FrameType | None) -> None:
            stopped["now"] = True

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        while not stopped["now"]:
            time.sleep(0.2)

    def finish(self) -> None:
        self._processes.stop_all()
        FOLDER.mkdir(parents=True, exist_ok=True)
        file = FOLDER / "report.json"
        with os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as out:
            json.dump(self.report, out, indent=2)

    def setup_code(self) -> str:
        return self._run("manyarm", "init", "--new-setup-code").split(": ")[1].strip()

    def table(self) -> None:
        self._say("What happened")
        for row in (("command", "release", "environment", "state", "seconds"), *self._rows):
            print("  " + "".join(cell.ljust(14) for cell in row))

    # The hub

    def _start_hub(self) -> None:
        self._say("A hub: broker, engine, gateway and portal, on this machine alone")
        if not (self._stage.hub_home / "manyarm.db").exists():
            self._show("manyarm", "init", quiet=True)
        process = self._processes.start("up", "manyarm", "up")
        print("  $ manyarm up")

        def ready() -> bool:
            if process.poll() is not None:
                raise StageFailed(f"manyarm up ended: {self._processes.last_words('up')}")
            return "Ready." in (FOLDER / "up.log").read_text(errors="replace")

        wait_until(ready, f"the hub was not ready in two minutes: {FOLDER}/up.log and {FOLDER}/hub/run say more", 120)
        self._key = self._api_key()
        self.report["api_key"] = self._key

    def _api_key(self) -> str:
        """The demo's own administrator and key; both are kept for the next run."""
        file = FOLDER / "api-key"
        if file.exists() and self._is_good(file.read_text()):
            return file.read_text()
        password = os.urandom(18).hex()
        subprocess.run(
            [_BIN / "manyarm", "user", "add", "demo"],
            input=password.encode(),
            env=self._stage.environ(),
            capture_output=True,
            check=False,
        )
        key = self._run("manyarm", "user", "api-key", "demo", "--label", "the demo").strip()
        with os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as out:
            out.write(key)
        return key

    def _is_good(self, key: str) -> bool:
        try:
            self._get("/me", key)
        except urllib.error.HTTPError:
            return False
        return True

    # The targets

    def _start_targets(self) -> None:
        self._say("A machine whose spoke dials out")
        self._start_spoke("web-1")
        self._say("One whose spoke listens, for a relay to dial it")
        self._start_spoke("web-2", "--listen", f"127.0.0.1:{self._stage.ports['listening']}")
        self._say("One that has an SSH server and nothing of Manyarm")
        self._add_ssh("web-3")
        self._say("And cloud-1, which is no machine: what is deployed there runs beside the hub")
        wait_until(self._all_healthy, f"the targets were not healthy in a minute: {FOLDER}/*.log say more", 60)
        self._show("manyarm", "target", "list")

    def _start_spoke(self, name: str, *listening: str) -> None:
        home = self._stage.spoke_home(name)
        if not (home / "trust").exists():
            self._enrol(name, home, *listening)
        print(f"  $ manyarm-spoke --home {home.relative_to(Path.cwd())} run")
        self._processes.start(name, "manyarm-spoke", "--home", str(home), "run")

    def _enrol(self, name: str, home: Path, *listening: str) -> None:
        where = self._where(name)
        made = self._json("manyarm", "join-code", "create", *where, "--auto-approve", "--json")
        print(f"  $ manyarm join-code create {shlex.join(where)} --auto-approve")
        shown = ("manyarm-spoke", "--home", str(home.relative_to(Path.cwd())), "enrol")
        print(f"  $ {shlex.join(shown)} {made['code'][:16]}… {shlex.join(('--name', name, *listening))}")
        self._run("manyarm-spoke", "--home", str(home), "enrol", made["code"], "--name", name, *where, *listening)

    def _add_ssh(self, name: str) -> None:
        if name in {target["name"] for target in self._get("/targets")["items"]}:
            return
        command = ("manyarm", "target", "add-ssh", name, self._ssh.address, "--account", "demo-ssh", *self._where(name))
        print(f"  $ {shlex.join(command)} --host-key '{self._ssh.host_key[:32]}…'")
        home = self._stage.spoke_home(name)
        self._run(*command, "--host-key", self._ssh.host_key, "--home", str(home))

    @staticmethod
    def _where(name: str) -> tuple[str, ...]:
        places = (part for environment in ENVIRONMENTS for part in ("--environment", environment))
        return ("--role", "web", "--role", TARGETS[name], *places)

    def _all_healthy(self) -> bool:
        targets = self._get("/targets")["items"]
        return {target["name"] for target in targets if target["health"] == "healthy"} >= set(TARGETS)

    # Releases and deployments

    def _make_release(self, version: str) -> None:
        known = self._get("/releases?project=Storefront")["items"]
        if version not in {release["version"] for release in known}:
            named = ("--version", version, "--package", f"storefront={version}")
            self._show("manyarm", "release", "create", "Storefront", *named)

    def _deploy(self, version: str, environment: str) -> None:
        self._watch(
            ("manyarm", "deploy", "Storefront", "--release", version, "--to", environment), version, environment
        )

    def _go_back_and_forth(self, environment: str) -> None:
        """To the release before and to the present one again; both are on the targets, so nothing is sent."""
        self._say(
            f"Back to {VERSIONS[0]} in {environment}, which every target still has, and on to {VERSIONS[1]} again"
        )
        back = ("manyarm", "rollback", "Storefront", "--to", environment)
        self._watch(back, VERSIONS[0], environment)
        self._watch((*back, "--release", VERSIONS[1]), VERSIONS[1], environment)

    def _watch(self, command: tuple[str, ...], version: str, environment: str) -> None:
        """Follow a deployment to its end, note it, and ask the application on every target what it is now."""
        command = (*command, "--watch")
        print(f"\n  $ {shlex.join(command)}", flush=True)
        started = time.monotonic()
        watched = subprocess.run([_BIN / command[0], *command[1:]], env=self._stage.environ(self._key), check=False)
        made = self._get("/deployments?limit=1")["items"][0]
        seconds = round(time.monotonic() - started, 2)
        self._rows.append((command[1], version, environment, made["state"], f"{seconds:.1f}"))
        self.report["deployments"].append(
            {
                "project": "Storefront",
                "release": version,
                "environment": environment,
                "task": made["task"],
                "state": made["state"],
                "seconds": seconds,
            }
        )
        if watched.returncode != 0:
            failure = self._get(f"/tasks/{made['task']}")["failure"]
            raise StageFailed(f"the deployment of {version} to {environment} {made['state']}: {failure}")
        for name, role in TARGETS.items():
            self._check_answer(name, role, version, environment)

    def _check_answer(self, name: str, role: str, version: str, environment: str) -> None:
        """The application itself, over HTTP, says which version it is."""
        port = self._stage.ports[f"DEMO_PORT_{environment.upper()}_{role.upper()}"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/about", timeout=10) as answer:
            about = json.load(answer)
        if about != {"version": version, "environment": environment, "target": name}:
            raise StageFailed(f"{name} in {environment} answers {about}; expected version {version}")
        print(f"  http://127.0.0.1:{port}/ on {name} answers: {about['version']} in {about['environment']}")

    # Telling and running

    @staticmethod
    def _say(words: str) -> None:
        print(f"\n{words}", flush=True)

    def _show(self, *command: str, quiet: bool = False) -> None:
        print(f"  $ {shlex.join(command)}", flush=True)
        words = self._run(*command)
        if not quiet:
            print("".join(f"    {line}\n" for line in words.splitlines()), end="", flush=True)

    def _json(self, *command: str) -> Any:
        return json.loads(self._run(*command))

    def _get(self, path: str, key: str = "") -> Any:
        """From the API, for what the demo asks in between; people are shown commands."""
        headers = {"Authorization": f"Bearer {key or self._key}"}
        request = urllib.request.Request(f"{self.report['api']}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def _run(self, *command: str) -> str:
        done = self._completed(command, self._stage.environ(self._key))
        if done.returncode != 0:
            raise StageFailed(f"{shlex.join(command[:3])} … ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    @staticmethod
    def _completed(command: tuple[str, ...], environ: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [_BIN / command[0], *command[1:]], env=environ, capture_output=True, text=True, check=False
        )


def main() -> int:
    once = bool(os.environ.get("ONCE")) or not sys.stdout.isatty()
    try:
        demo = Demo()
    except StageFailed as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    try:
        demo.play()
        demo.table()
        if once:
            print(
                f"\nEverything is stopped again. To look around: make demo on a terminal. Report: {FOLDER}/report.json"
            )
        else:
            demo.serve(demo.setup_code())
    except StageFailed as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopping", file=sys.stderr)
    finally:
        demo.finish()
    return 0 if demo.report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
