"""A relay cannot open, forge or re-address what it carries: nothing that it imports could."""

import ast
from pathlib import Path

import pytest

ENTRY = "spokes.relay"
# Whatever opens or seals an envelope, a chunk or an artifact, and whatever holds the keys for it.
NEVER = {
    "wire.envelope",
    "wire.exchange",
    "wire.session",
    "wire.messages",
    "wire.chunks",
    "wire.chunks_sealed",
    "wire.chunks_artifact",
    "wire.log_body",
    "wire.rotation",
    "spokes.agent.identity",
    "spokes.agent.enrolment",
    "spokes.agent.uplink",
    "spokes.agent.service",
    "spokes.agent.gateway",
}
# Names that would do it in a file that is reached for another reason.
NAMES = {"BoxKey", "unseal", "unwrap", "open_chunk", "open_manifest", "open_artifact", "open_body", "SealedBox"}
# Where those that the relay needs stand too: public keys and thumbprints.
HOME_OF_KEYS = "wire.keys"


def path_of(module: str) -> Path | None:
    base = Path(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if path_of(name) is not None}


def reached(entry: str) -> set[str]:
    seen, waiting = set(), [entry]
    while waiting:
        module = waiting.pop()
        path = path_of(module)
        if module in seen or path is None:
            continue
        seen.add(module)
        waiting += imports_of(path)
    return seen


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (
        {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        | {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    )


@pytest.fixture(scope="module")
def modules():
    return reached(ENTRY)


def test_the_relay_reaches_what_carries(modules):
    """That the walk walks: these it must find."""
    assert {"wire.websocket", "wire.amqp.connection", "wire.trust", "spokes.relaying.link", "wire.keys"} <= modules


def test_the_relay_reaches_nothing_that_opens_or_seals(modules):
    assert not modules & NEVER, sorted(modules & NEVER)


def test_no_file_that_it_reaches_names_a_box_key_or_an_opening_function(modules):
    wrong = {
        module: names_in(path_of(module)) & NAMES
        for module in modules - {HOME_OF_KEYS}
        if names_in(path_of(module)) & NAMES
    }
    assert not wrong, wrong


def test_the_kind_that_enrols_it_does_reach_them_so_the_test_can_fail():
    assert reached("spokes.relaying.kind") & NEVER


def test_the_relay_signs_nothing(modules):
    """It has a key for TLS alone; of signing keys it knows the public halves."""
    for module in modules - {HOME_OF_KEYS, "wire.documents", "wire.trust", "wire.tls"}:
        assert "SigningKey" not in names_in(path_of(module)), module
