"""docs/protocol.md is read, and every byte that it shows is checked."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.fakes.parties import FACTS
from tests.wire import vectors
from wire import messages
from wire.documents import BoxDocument, FleetDocument
from wire.envelope import SIGNER_ROLE, MessageType, seal, unseal, verify
from wire.exchange import open_enrol, open_from_spoke
from wire.header import Header
from wire.keys import BoxKey, SigningKey, thumbprint
from wire.roles import KeyTable, Role, TrustedKey
from wire.session import SpokeIdentity, SpokeSession
from wire.trust import TrustChain

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
NAMES = ["hello", "welcome", "command", "ack", "result"]


def section(name: str) -> str:
    return PAGE.split(f"### {name}\n", 1)[1].split("\n### ", 1)[0]


def parts_of(name: str) -> dict[str, bytes]:
    parts: dict[str, str] = {}
    current = ""
    for line in re.search(r"```hex\n(.*?)\n```", section(name), re.DOTALL)[1].splitlines():
        current = line[:10].strip() or current
        parts[current] = parts.get(current, "") + line[10:]
    return {part: bytes.fromhex(text) for part, text in parts.items()}


def frame_of(name: str) -> bytes:
    return b"".join(parts_of(name).values())


def texts_of(name: str) -> tuple[bytes, bytes]:
    header, body = re.search(r"```json\n(.*?)\n```", section(name), re.DOTALL)[1].splitlines()
    return header.encode("ascii"), body.encode("ascii")


@pytest.fixture(scope="module")
def seeds() -> dict[str, bytes]:
    rows = re.search(r"```seeds\n(.*?)\n```", PAGE, re.DOTALL)[1].splitlines()
    return {row.split()[0]: bytes.fromhex(row.split()[2]) for row in rows}


@pytest.fixture(scope="module")
def chain(seeds):
    root = SigningKey.from_seed(seeds["root"]).verify_key.pk
    return TrustChain.from_root(hashlib.sha256(root).digest(), [frame_of("trust document")])


@pytest.fixture(scope="module")
def directory(seeds):
    command = SigningKey.from_seed(seeds["hub-command"]).verify_key
    spoke = SigningKey.from_seed(seeds["spoke-sign"]).verify_key
    return KeyTable(
        [
            TrustedKey(command, Role.HUB_COMMAND, "hub"),
            TrustedKey(spoke, Role.SPOKE_SIGN, vectors.SPOKE_ID),
        ]
    )


def boxes_of(name: str, seeds) -> list[BoxKey]:
    return [BoxKey.from_bytes(seeds["spoke-box" if name in ("welcome", "command") else "hub-box"])]


@pytest.mark.parametrize("name", NAMES)
def test_each_frame_of_the_page_opens_to_the_header_and_body_beside_it(name, seeds, directory):
    header, body = texts_of(name)
    verified = verify(frame_of(name), directory, vectors.AT)
    assert verified.kind is MessageType[name.upper()]
    assert parts_of(name)["header"] == header
    assert verified.header == Header(**json.loads(header))
    assert unseal(verified, boxes_of(name, seeds)) == body
    assert messages.encode(messages.decode(verified.kind, body)) == body


@pytest.mark.parametrize("name", NAMES)
def test_sealing_with_the_seeds_and_nonces_of_the_page_gives_its_very_bytes(name, seeds):
    header, body = texts_of(name)
    kind = MessageType[name.upper()]
    first = 0x10 * (NAMES.index(name) + 1)
    recipient = vectors.FixedBox(boxes_of(name, seeds)[0].public.pk, ephemeral=bytes([first + 2]) * 32)
    signer = SigningKey.from_seed(seeds["hub-command" if SIGNER_ROLE[kind] is Role.HUB_COMMAND else "spoke-sign"])
    random = vectors.counting(first)
    assert seal(
        kind, Header(**json.loads(header)), body, signer=signer, recipient=recipient, random=random
    ) == frame_of(name)


def test_the_enrolment_of_the_page_opens_by_the_key_that_it_brings_and_is_made_of_the_seeds(seeds):
    header, body = texts_of("enrol")
    hub_box, signer = BoxKey.from_bytes(seeds["hub-box"]), SigningKey.from_seed(seeds["spoke-sign"])
    received = open_enrol(frame_of("enrol"), [hub_box], vectors.HUB_ID)
    assert received.signer.pk == signer.verify_key.pk
    assert messages.encode(received.body) == body
    made = seal(
        MessageType.ENROL,
        Header(**json.loads(header)),
        body,
        signer=signer,
        recipient=vectors.FixedBox(hub_box.public.pk, ephemeral=b"\x62" * 32),
        random=vectors.counting(0x60),
    )
    assert made == frame_of("enrol")


def test_the_fleet_document_of_the_page_names_the_spoke_by_address_and_thumbprint(chain, seeds):
    fleet = FleetDocument.open(frame_of("fleet document"), chain.directory(), vectors.AT, vectors.HUB_ID)
    (spoke,) = fleet.spokes
    assert spoke.thumbprint == thumbprint(SigningKey.from_seed(seeds["spoke-sign"]).verify_key.pk)
    assert (spoke.id, spoke.address) == (vectors.SPOKE_ID, "web-1.example:10933")
    assert fleet.is_current(vectors.AT)
    assert not fleet.is_current(fleet.expires)


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_of_the_page_are_cut_where_its_table_says(name):
    parts = parts_of(name)
    assert [len(parts[part]) for part in ("fixed", "kid", "wrap", "nonce", "signature")] == [12, 16, 80, 24, 64]
    assert len(parts["header"]) == int.from_bytes(parts["fixed"][6:8], "big")
    assert len(parts["body"]) == int.from_bytes(parts["fixed"][8:12], "big") == len(texts_of(name)[1]) + 16


def test_the_whole_page_is_what_the_vectors_print():
    assert PAGE.endswith(vectors.render())


def test_a_spoke_and_a_hub_carry_the_exchange_of_the_page_through(seeds, chain, directory):
    identity = SpokeIdentity(
        vectors.SPOKE_ID,
        vectors.HUB_ID,
        SigningKey.from_seed(seeds["spoke-sign"]),
        (BoxKey.from_bytes(seeds["spoke-box"]),),
    )
    hub_box = BoxDocument.open(frame_of("box document"), chain.directory(), vectors.AT, vectors.HUB_ID).box
    session = SpokeSession(identity, chain, 1, hub_box, random=lambda n: b"\x0c" * n)
    session.hello(FACTS, vectors.AT, 5.0)
    session.welcome(frame_of("welcome"), 6.0)
    received = session.receive(frame_of("command"), 7.0)
    assert (session.time(7.0), received.header.cid, received.first) == (vectors.AT + 3, vectors.JOB_ID, True)
    hub_boxes = boxes_of("result", seeds)
    for name in ("hello", "ack", "result"):
        answer = open_from_spoke(frame_of(name), directory, hub_boxes, vectors.HUB_ID, vectors.AT)
        assert answer.signer.owner == vectors.SPOKE_ID
    assert answer.header.rh == received.frame_sha256


def test_the_table_of_types_on_the_page_is_the_table_of_the_code():
    rows = re.findall(r"^\| (\d+ .*?) \| (.*?) \|", PAGE, re.MULTILINE)
    shown = {(int(number), name): signer for cell, signer in rows for number, name in re.findall(r"(\d+) (\w+)", cell)}
    assert shown.keys() == {(int(kind), kind.name.lower()) for kind in MessageType}
    for (number, name), signer in shown.items():
        if name != "enrol":
            assert signer == SIGNER_ROLE[MessageType(number)]
