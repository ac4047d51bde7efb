"""Runs the built runner on job folders, as a spoke does."""

import hashlib
import json
import os
import subprocess
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from runner.contract.spool import Kind, Stream, read_records


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # The same files make the same bytes, whenever.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def released(root):
    """The names of the releases in an application folder."""
    return sorted(path.name for path in (root / "releases").iterdir() if path.name != ".manyarm")


LIMITS = {"cpu_s": 600, "wall_s": 60, "out_bytes": 64 * 1024**2, "disk_bytes": 64 * 1024**2}


@dataclass
class Run:
    folder: Path
    process: subprocess.Popen
    err: Path

    def wait(self, timeout=60):
        assert self.process.wait(timeout) == 0, self.err.read_text()
        return self.outcome

    @property
    def outcome(self):
        return json.loads((self.folder / "outcome.json").read_text())

    @property
    def records(self):
        path = self.folder / "output"
        return read_records(path.read_bytes()) if path.exists() else []

    def text(self, *streams):
        wanted = streams or tuple(Stream)
        return b"".join(r.content for r in self.records if r.kind is Kind.TEXT and r.stream in wanted).decode()

    @property
    def out(self):
        return self.text(Stream.STDOUT)

    @property
    def err_text(self):
        return self.text(Stream.STDERR)

    @property
    def events(self):
        return [json.loads(r.content) for r in self.records if r.kind is Kind.EVENT]

    def until(self, text, timeout=20):
        deadline = time.monotonic() + timeout
        while text not in self.text():
            assert time.monotonic() < deadline, self.text()
            assert self.process.poll() is None, (self.text(), self.err.read_text())
            time.sleep(0.01)


@dataclass
class Rig:
    command: list
    home: Path
    environment: dict = field(default_factory=dict)
    count: int = 0

    def job(self, kind="run-script", properties=None, **more):
        job = {
            "task": "0" * 32,
            "step": {"name": "Deploy web", "kind": kind},
            "attempt": 1,
            "target": {"id": "1" * 32, "name": "web-1"},
            "environment": {"id": "2" * 32, "name": "Production"},
            "project": {"id": "3" * 32, "name": "Storefront"},
            "release": {"id": "4" * 32, "version": "1.0.0"},
            "properties": properties or {},
            "variables": {},
            "secret_names": [],
            "expose_env": [],
            "package": None,
            "isolation": "",
            "grace_s": 1,
            "tenant": "",
        }
        return {**job, **more}

    def folder(self, job, packages=None, limits=None, **more):
        self.count += 1
        cid = hashlib.sha256(f"{self.home}{self.count}".encode()).hexdigest()[:32]
        folder = self.home / "jobs" / cid
        folder.mkdir(parents=True, mode=0o700)
        body = {
            "format": 1, "job": job, "cid": cid, "packages": packages or {}, "home": str(self.home),
            "limits": {**LIMITS, **(limits or {})}, "run_as": "", **more,
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps(body))
        return folder

    def environ(self):
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", **self.environment}

    def begin(self, folder, line, argument=None):
        err = folder / "supervisor.err"
        with err.open("wb") as err_file:
            process = subprocess.Popen(
                [*self.command, *(["supervise", str(folder)] if argument is None else argument)],
                stdin=subprocess.PIPE, stdout=err_file, stderr=err_file, env=self.environ(),
                cwd=self.home, start_new_session=True,
            )  # fmt: skip
        process.stdin.write(line)
        process.stdin.close()
        return Run(folder, process, err)

    def start(self, job, secrets=None, **more):
        if secrets:
            job = {**job, "secret_names": sorted(secrets)}
        line = json.dumps({"secrets": secrets or {}, "go": True}).encode() + b"\n"
        return self.begin(self.folder(job, **more), line)

    def run(self, job, secrets=None, **more):
        run = self.start(job, secrets, **more)
        run.wait()
        return run

    def script(self, text, secrets=None, shell="bash", **more):
        """Run one script to its end."""
        keys = ("limits", "run_as")
        folder = {key: more.pop(key) for key in keys if key in more}
        return self.run(self.job(properties={"script": text, "shell": shell}, **more), secrets, **folder)

    def start_script(self, text, secrets=None, shell="bash", limits=None, **more):
        return self.start(self.job(properties={"script": text, "shell": shell}, **more), secrets, limits=limits)

    def start_deploy(self, package, properties=None, extension="zip", secrets=None, version="1.0.0", **more):
        reference = {
            "id": "storefront", "version": version, "extension": extension, "manifest_id": "5" * 32,
            "sha256": hashlib.sha256(Path(package).read_bytes()).hexdigest(),
        }  # fmt: skip
        limits = more.pop("limits", None)
        job = self.job("deploy-package", properties, package=reference, **more)
        packages = {"5" * 32: str(package)} if job.get("mode", "install") != "switch" else {}
        return self.start(job, secrets, packages=packages, limits=limits)

    def deploy(self, *arguments, **more):
        """Deploy one package file to its end."""
        run = self.start_deploy(*arguments, **more)
        run.wait()
        return run

    def switch(self, package, properties=None, **more):
        """Go back to what this package file left; the file itself does not come with the job."""
        return self.deploy(package, properties, mode="switch", **more)
