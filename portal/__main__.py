"""The portal's process: `python -m portal --home DIR`; `manyarm portal` and `manyarm up` start it so."""

import argparse
import dataclasses
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from flask import Flask

from config.settings import HubSettings, parse_address
from hub import child, composition
from hub.certificates import portal_tls
from hub.cli.ending import CommandFailed
from hub.cli.server.parts import key_for, listening
from hub.cli.server.starting import begin, telling
from hub.serving import listen, serve
from hub.storage.vault import Kek, ProcessClass
from portal import login
from portal.app import create_app
from portal.parts import PortalParts

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
# Streams, and as many requests beside them.
_SPARE_THREADS = 56


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m portal", description="Pages and API of Manyarm.")
    parser.add_argument("--home", type=Path)
    asked = parser.parse_args()
    try:
        telling(run)(begin(asked.home, "portal"))
    except CommandFailed as error:
        child.say_failed(error.message, error.exit_code)
        sys.stderr.write(f"Error: {error.message}\n")
        sys.exit(error.exit_code)


def run(settings: HubSettings) -> None:
    """Serve until a signal, or until whoever started this is gone."""
    settings.refuse_open_portal()
    kek = key_for(settings, ProcessClass.PORTAL)
    listener = listening(settings.portal_bind, "MANYARM_PORTAL_BIND", listen)
    child.leave_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    serve(
        lambda: application(settings, kek),
        listener=listener,
        threads=settings.limits.streams + _SPARE_THREADS,
        tls=portal_tls(settings),
        on_ready=child.say_ready,
    )


def application(settings: HubSettings, kek: Kek) -> Flask:
    """The whole application, for this process alone."""
    api = dataclasses.replace(composition.api_parts(settings, kek), session_caller=login.session_caller)
    return create_app(
        PortalParts(
            api=api,
            origin=settings.portal_url,
            hosts=_hosts(settings),
            trusted_proxies=settings.trusted_proxies,
        )
    )


def _hosts(settings: HubSettings) -> tuple[str, ...]:
    """The names that a request may call us: the one people type, and loopback where we listen there."""
    named = urlsplit(settings.portal_url).hostname or ""
    host, _ = parse_address(settings.portal_bind)
    return tuple(dict.fromkeys((named, host, *_LOOPBACK_NAMES)))


if __name__ == "__main__":
    main()
