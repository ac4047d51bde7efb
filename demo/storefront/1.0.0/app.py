"""A small shop window: serves its page, its catalogue and what it knows of itself, with the standard library alone."""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = (HERE / "index.html").read_bytes()
CATALOGUE = json.loads((HERE / "catalogue.json").read_text(encoding="utf-8"))


def read_settings(text: str) -> dict[str, str]:
    """As much of YAML as the settings are written in: a name and a value a line, `server:` before those below it."""
    found: dict[str, str] = {}
    above = ""
    for line in text.splitlines():
        name, _, rest = line.partition("#")[0].partition(":")
        value = rest.strip().strip("'\"")
        if not line.startswith(" "):
            above = "" if value else f"{name}:"
        if value:
            found[above * line.startswith(" ") + name.strip()] = value
    return found


SETTINGS = read_settings((HERE / "settings.yaml").read_text(encoding="utf-8"))


class Window(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/":
            self.answer(PAGE, "text/html; charset=utf-8")
        elif self.path == "/about":
            about = {name: SETTINGS[name] for name in ("version", "environment", "target")}
            self.answer(json.dumps(about).encode(), "application/json")
        elif self.path == "/cheapest":
            self.answer(json.dumps(min(CATALOGUE, key=lambda item: item["price"])).encode(), "application/json")
        else:
            self.send_error(404)

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """A visit is no news."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ThreadingHTTPServer(("127.0.0.1", int(SETTINGS["server:port"])), Window)
    print(f"storefront {SETTINGS['version']} listens on port {SETTINGS['server:port']}", flush=True)
    server.serve_forever()
