"""The arrows of the architecture hold, and no two files import each other in a circle."""

import ast
from pathlib import Path

import pytest

ROOMS = ("wire", "hub", "spokes", "runner", "portal", "config")

# room: rooms it may import besides itself. A dotted name allows that part alone.
ARROWS: dict[str, tuple[str, ...]] = {
    "wire": (),
    "runner": (),
    "config": (),
    "spokes": ("wire", "config"),
    "hub": ("wire", "config", "runner.contract", "runner.build"),
    "portal": ("hub", "config"),
}
# The one door of each library: the files that may import it.
DOORS: dict[str, tuple[str, ...]] = {
    "pika": ("wire/amqp",),
    "nacl": (
        "wire/keys.py",
        "wire/envelope.py",
        "wire/chunks",
        "wire/trust",
        "hub/storage/vault",
        "hub/access/passwords.py",
    ),
    "cryptography": (
        "wire/keys.py",
        "wire/envelope.py",
        "wire/chunks",
        "wire/tls.py",
        "wire/trust",
        "hub/storage/vault",
    ),
    # The runner imports no other room, and a health check asks whatever server a deployment brought up.
    "ssl": ("wire/tls.py", "runner/http_connection.py"),
    "websockets": ("wire/websocket.py",),
    "fabric": ("spokes/ssh.py",),
    "paramiko": ("spokes/ssh.py",),
    "peewee": ("hub/",),
    "playhouse": ("hub/storage/",),
    "flask_login": ("portal/login.py",),
}
PORTAL_NEVER = ("hub.storage.models", "wire", "runner", "peewee")
CLIENT_MAY = ("hub.cli", "wire.chunks", "wire.errors")
BANNED_NAMES = {"util", "utils", "common", "helper", "helpers", "core", "manager", "shared", "misc"}


def modules() -> dict[str, Path]:
    found = {}
    for room in ROOMS:
        for path in Path(room).rglob("*.py"):
            name = ".".join(path.with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports_of(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Every module that the file names in an import, wherever it stands: top, function or TYPE_CHECKING."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                named.add(whole if whole in known else str(node.module))
    return named - {name}


@pytest.fixture(scope="module")
def graph():
    known = modules()
    return {name: imports_of(name, path, known) for name, path in known.items()}


def test_no_arrow_leaves_the_table(graph):
    wrong = []
    for name, named in graph.items():
        room = name.split(".")[0]
        for other in named:
            target = other.split(".")[0]
            if target not in ROOMS or target == room:
                continue
            if not any(other == may or other.startswith(may + ".") for may in ARROWS[room]):
                wrong.append(f"{name} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_each_library_has_one_door(graph):
    paths = modules()
    wrong = [
        f"{paths[name]} imports {other}"
        for name, named in graph.items()
        for other in named
        if other.split(".")[0] in DOORS
        and not any(str(paths[name]).startswith(door) for door in DOORS[other.split(".")[0]])
    ]
    assert not wrong, "\n".join(wrong)


def test_the_portal_shows_and_does_not_store(graph):
    wrong = [
        f"{name} imports {other}"
        for name, named in graph.items()
        if name.startswith("portal")
        for other in named
        if any(other == never or other.startswith(never + ".") for never in PORTAL_NEVER)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_client_commands_are_strangers_with_a_key(graph):
    wrong = [
        f"{name} imports {other}"
        for name, named in graph.items()
        if name.startswith("hub.cli.client")
        for other in named
        if other.split(".")[0] in ROOMS and not any(other == may or other.startswith(may + ".") for may in CLIENT_MAY)
    ]
    assert not wrong, "\n".join(wrong)


def test_there_is_no_cycle(graph):
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            pytest.fail(" > ".join((*path[path.index(name) :], name)))
        if name in done or name not in graph:
            return
        for other in sorted(graph[name]):
            walk(other, (*path, name))
        done.add(name)

    for start in sorted(graph):
        walk(start, ())


def test_no_module_is_named_for_nothing():
    wrong = [str(path) for path in modules().values() if path.stem in BANNED_NAMES or path.parent.name in BANNED_NAMES]
    assert not wrong, "\n".join(wrong)
