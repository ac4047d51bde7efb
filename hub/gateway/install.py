"""How a machine gets manyarm-spoke: script and wheel, as the gateway serves them, and the line that a person pastes."""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from flask import Blueprint, Response, send_file

from hub.errors import NotFound
from hub.gateway.parts import GatewayParts

_WHEEL_NAME = re.compile(r"manyarm-[A-Za-z0-9._+-]+\.whl", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wheel:
    """The wheel on offer."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        return self.path.name


def routes(parts: GatewayParts) -> Blueprint:
    """Public by design: program text that anybody may have."""
    here = Blueprint("install", __name__)

    def script() -> Response:
        return Response(install_script(), mimetype="text/x-shellscript")

    def wheel(name: str) -> Response:
        offered = wheel_on_offer(parts.wheels)
        if offered is None or name != offered.name:
            raise NotFound("the hub does not offer this wheel; make a new join code to see the present one")
        return send_file(offered.path, mimetype="application/octet-stream", as_attachment=True)

    here.get("/install")(script)
    here.get("/wheel/<name>")(wheel)
    return here


def install_script() -> bytes:
    return resources.files("hub.gateway").joinpath("install.sh").read_bytes()


def wheel_on_offer(folder: Path) -> Wheel | None:
    """The newest wheel of the folder; None where there is none."""
    found = [path for path in folder.glob("*.whl") if _WHEEL_NAME.fullmatch(path.name)]
    if not found:
        return None
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    return Wheel(newest, _sha256_of(newest, newest.stat().st_mtime_ns))


def install_command(address: str, wheel: Wheel) -> str:
    """What stands beside a join code: fetches the script, checks it, lets it check and install the wheel.

    Args:
        address: host:port of the gateway, as targets reach it.
        wheel: The wheel on offer.
    """
    script = hashlib.sha256(install_script()).hexdigest()
    return (
        f"curl -fsSk https://{address}/install -o manyarm-install"
        f" && echo '{script}  manyarm-install' | sha256sum -c -"
        f" && sh manyarm-install --hub {address} --wheel {wheel.name} --sha256 {wheel.sha256}"
    )


@lru_cache(maxsize=8)
def _sha256_of(path: Path, _changed_at_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
