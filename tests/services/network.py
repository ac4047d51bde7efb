"""A second machine's network on this one: a namespace at the end of a cable that can be cut, both ways or one way."""

import itertools
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_NUMBERS = itertools.count()
_NOBODY = "02:00:00:00:00:01"


class Cable:
    """From here to a namespace; `wrapped` runs a command over there.

    A one-way cut sends the frames of one side to a hardware address that nobody has: no error, no answer.
    """

    def __init__(self, name: str, here: str, far: str) -> None:
        self.name = name
        self.here = here
        self.far = far
        self._here_device, self._far_device = f"{name}h", f"{name}f"

    def wrapped(self, *command: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name, *command)

    def lay(self) -> None:
        _ip("netns", "add", self.name)
        _ip("link", "add", self._here_device, "type", "veth", "peer", "name", self._far_device, "netns", self.name)
        _ip("addr", "add", f"{self.here}/30", "dev", self._here_device)
        _ip("link", "set", self._here_device, "up")
        self._there("addr", "add", f"{self.far}/30", "dev", self._far_device)
        self._there("link", "set", self._far_device, "up")
        self._there("link", "set", "lo", "up")

    def take_up(self) -> None:
        """Both ends and the namespace go."""
        subprocess.run(["ip", "link", "del", self._here_device], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    def cut(self) -> None:
        _ip("link", "set", self._here_device, "down")

    def cut_from_far(self) -> None:
        """What is sent over there does not come here."""
        self._there("neigh", "replace", self.here, "lladdr", _NOBODY, "dev", self._far_device, "nud", "permanent")

    def cut_to_far(self) -> None:
        """What is sent here does not come there."""
        _ip("neigh", "replace", self.far, "lladdr", _NOBODY, "dev", self._here_device, "nud", "permanent")

    def heal(self) -> None:
        """Whatever was cut is whole again."""
        _ip("link", "set", self._here_device, "up")
        for run, far_end in ((_ip, (self.far, self._here_device)), (self._there, (self.here, self._far_device))):
            address, device = far_end
            run("neigh", "flush", "to", address, "dev", device, "nud", "permanent")

    def _there(self, *words: str) -> None:
        _ip("-n", self.name, *words)


@contextmanager
def cable() -> Iterator[Cable]:
    """One with addresses that nobody else on this machine uses; needs root."""
    number = next(_NUMBERS)
    net, host = 16 + os.getpid() % 200, 4 * (number % 60)
    made = Cable(f"mm{secrets.token_hex(4)}", f"10.213.{net}.{host + 1}", f"10.213.{net}.{host + 2}")
    try:
        made.lay()
        yield made
    finally:
        made.take_up()


def may_lay_cables() -> bool:
    """Whether this user may make network namespaces, and has the tool."""
    if os.geteuid() != 0:
        return False
    name = f"mm{secrets.token_hex(4)}"
    try:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"
