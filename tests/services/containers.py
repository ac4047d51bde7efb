"""A real podman for a test, on a machine of its own: images and containers in its folder, nothing from any registry."""

import io
import shutil
import tarfile
from pathlib import Path

from tests.services.machine import Machine

BASE = "localhost/base:1"
# Limits are given and cgroups left alone, so that it runs where root may raise no limit: in a container, say.
_PODMAN = """#!/bin/sh
export CONTAINERS_CONF={folder}/containers.conf
verb=$1
case $verb in create|run) shift; set -- $verb --ulimit nofile=1000:1000 --ulimit nproc=1000:1000 --cgroups=disabled "$@" ;; esac
exec {podman} --root {folder}/root --runroot /run/test-podman --storage-driver=vfs --cgroup-manager=cgroupfs "$@"
"""
_CONF = '[engine]\nevents_logger = "file"\n[network]\nnetwork_config_dir = "{folder}/net"\n'


def lay_out(machine: Machine) -> Path:
    """Give a machine a podman; the folder of that program, which belongs on the path."""
    folder = machine.folder / "podman"
    (folder / "bin").mkdir(parents=True)
    (folder / "containers.conf").write_text(_CONF.format(folder=folder))
    program = folder / "bin/podman"
    program.write_text(_PODMAN.format(folder=folder, podman=shutil.which("podman")))
    program.chmod(0o755)
    return folder / "bin"


def add_base_image(machine: Machine, programs: Path) -> None:
    """An image of nothing but busybox, by the name of BASE."""
    with tarfile.open(machine.folder / "base.tar", "w") as archive:
        busybox = Path(str(shutil.which("busybox"))).read_bytes()
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(busybox), 0o755
        archive.addfile(entry, io.BytesIO(busybox))
        for name in ("sh", "httpd", "sleep", "echo", "cat", "env", "true", "false", "wget", "mkdir", "test", "touch"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name in ("tmp", "www", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(folder)
    machine.run(str(programs / "podman"), "import", str(machine.folder / "base.tar"), BASE)


def image_archive(machine: Machine, programs: Path, path: Path, *names: str, form: str = "docker-archive") -> Path:
    """An archive of images as `save` makes it: the base image, each time with a label of its own."""
    podman = str(programs / "podman")
    for name in names:
        machine.run(podman, "import", f"--change=LABEL image={name}", str(machine.folder / "base.tar"), name)
    more = ("--multi-image-archive",) if len(names) > 1 else ()
    machine.run(podman, "save", f"--format={form}", *more, "-o", str(path), *names)
    for name in names:
        machine.run(podman, "rmi", "-f", name)
    return path
