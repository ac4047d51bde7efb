"""One exchange with fixed keys and nonces, byte for byte; `python -m tests.wire.vectors` writes it as docs/protocol.md shows it.

Nothing here is secret: the seeds are printed on the page.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import nacl.bindings

from wire import messages
from wire.documents import BoxDocument, DocumentKind, FleetDocument, FleetSpoke, split_document
from wire.envelope import Header, MessageType, frame_sha256, seal
from wire.keys import BoxKey, BoxPublicKey, SigningKey, thumbprint
from wire.messages import (
    Ack,
    AckState,
    Body,
    Command,
    EndState,
    Enrol,
    Hello,
    Limits,
    Op,
    Platform,
    Result,
    Welcome,
)
from wire.roles import Role
from wire.trust import DocumentKey, RunnerFloor, TrustDocument, sign_trust

AT = 1_800_000_000
HUB_ID = "0a" * 16
SPOKE_ID = "0b" * 16
NONCE = "0c" * 16
HUB_NONCE = "0d" * 16
JOB_ID = "0e" * 16

ROOT = SigningKey.from_seed(b"\x01" * 32)
HUB_COMMAND = SigningKey.from_seed(b"\x02" * 32)
HUB_BOX = BoxKey.from_bytes(b"\x03" * 32)
SPOKE_SIGN = SigningKey.from_seed(b"\x04" * 32)
SPOKE_BOX = BoxKey.from_bytes(b"\x05" * 32)


class FixedBox(BoxPublicKey):
    """Wraps as libsodium's sealed box does, with an ephemeral key that is not random: for vectors alone."""

    __slots__ = ("_ephemeral",)

    def __init__(self, pk: bytes, ephemeral: bytes) -> None:
        super().__init__(pk)
        self._ephemeral = ephemeral

    def wrap(self, cek: bytes) -> bytes:
        public = nacl.bindings.crypto_scalarmult_base(self._ephemeral)
        nonce = hashlib.blake2b(public + self.pk, digest_size=24).digest()
        return public + nacl.bindings.crypto_box(cek, nonce, self.pk, self._ephemeral)


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    kind: MessageType
    header: Header
    body: Body
    frame: bytes

    @property
    def parts(self) -> dict[str, bytes]:
        """The frame cut at the borders of the page's table."""
        header_end = 28 + int.from_bytes(self.frame[6:8], "big")
        cuts = [0, 12, 28, header_end, header_end + 80, header_end + 104, len(self.frame) - 64, len(self.frame)]
        names = ["fixed", "kid", "header", "wrap", "nonce", "body", "signature"]
        return {name: self.frame[a:b] for name, a, b in zip(names, cuts, cuts[1:], strict=False)}


def counting(first: int) -> Callable[[int], bytes]:
    """Randomness that is none: n bytes of `first`, then of `first` + 1, and so on."""
    value = iter(range(first, 256))
    return lambda n: bytes([next(value)]) * n


def trust_frame() -> bytes:
    document = TrustDocument(
        hub=HUB_ID,
        version=1,
        prev_sha256="",
        issued=AT - 86_400,
        expires=AT + 300 * 86_400,
        threshold=1,
        epoch=1,
        min_envelope=1,
        keys=(
            DocumentKey.of(ROOT.verify_key, Role.HUB_ROOT, nbf=AT - 86_400, naf=AT + 3650 * 86_400),
            DocumentKey.of(HUB_COMMAND.verify_key, Role.HUB_COMMAND, nbf=AT - 86_400, naf=AT + 365 * 86_400),
        ),
        revoked=(),
        tls_pins=(),
        runner=RunnerFloor(1),
    )
    return sign_trust(document, [ROOT])


def box_frame() -> bytes:
    return BoxDocument.of(HUB_ID, HUB_BOX.public, issued=AT, expires=AT + 60 * 86_400).sign(HUB_COMMAND)


def fleet_frame() -> bytes:
    spoke = FleetSpoke(SPOKE_ID, "web-1.example:10933", thumbprint(SPOKE_SIGN.verify_key.pk), "0f" * 32)
    document = FleetDocument(HUB_ID, "default", AT, AT + 3600, "hub.example:8443", (spoke,))
    return document.sign(HUB_COMMAND)


def enrolment() -> Step:
    """How a listening spoke asks to be let in, signed by the key that it brings."""
    header = Header(
        aud=HUB_ID,
        iss="",
        mid="60" * 16,
        cid="",
        ses="",
        seq=0,
        epo=1,
        iat=AT,
        exp=AT + 900,
        sign_pk=SPOKE_SIGN.verify_key.pk.hex(),
        trust=split_document(trust_frame(), DocumentKind.TRUST).sha256,
    )
    body = Enrol(
        token_id="61" * 8,
        token_secret="62" * 16,
        box_pk=SPOKE_BOX.public.pk.hex(),
        tls_spki="0f" * 32,
        nonce="63" * 16,
        platform=Platform("Linux", "x86_64", "6.1.0", "3.11.7", "web-1"),
        requested_name="web-1",
        kind="listening",
        address="web-1.example:10933",
        roles=("web",),
        environments=("Production",),
    )
    return _step(0x60, header, body)


def exchange() -> list[Step]:
    """Hello, welcome, command, ack, result."""
    hello = _step(
        0x10,
        _to_hub(mid="10" * 16, seq=0),
        Hello(
            nonce=NONCE,
            clock=AT,
            trust_version=1,
            runner_release=1,
            box_pk=SPOKE_BOX.public.pk.hex(),
            software="manyarm 0.1.0",
            platform=Platform("Linux", "x86_64", "6.1.0", "3.11.7", "web-1"),
            reports=(),
        ),
    )
    welcome = _step(
        0x20,
        _to_spoke(mid="20" * 16, seq=0, at=AT + 1),
        Welcome(
            nonce=NONCE,
            hub_nonce=HUB_NONCE,
            hub_time=AT + 1,
            trust_version=1,
            epoch=1,
            checkpoint="",
            heartbeat_s=10,
            box=box_frame().hex(),
        ),
    )
    command = _step(
        0x30,
        _to_spoke(mid="30" * 16, seq=1, at=AT + 2, cid=JOB_ID),
        Command(
            op=Op.PING,
            cid=JOB_ID,
            job={},
            packages=(),
            secrets={},
            reply_to=HUB_BOX.kid.hex(),
            limits=Limits(60, 60, 1_048_576, 1_073_741_824),
            run_as="",
            not_before=0,
            capability="",
        ),
    )
    answers = {"cid": JOB_ID, "re": "30" * 16, "rh": frame_sha256(command.frame)}
    ack = _step(0x40, _to_hub(mid="40" * 16, seq=1, at=AT + 2, **answers), Ack(AckState.ACCEPTED, ""))
    result = _step(
        0x50,
        _to_hub(mid="50" * 16, seq=2, at=AT + 3, **answers),
        Result(
            state=EndState.SUCCEEDED,
            exit_code=0,
            message="",
            outputs=(),
            artifacts=(),
            survivors=(),
            ended_processes=0,
            cancel_confirmed=None,
            started_at=(AT + 2) * 1000,
            ended_at=(AT + 3) * 1000,
            records=0,
            chain="00" * 32,
            known="",
        ),
    )
    return [hello, welcome, command, ack, result]


def render() -> str:
    """The vectors as the page shows them."""
    blocks = [
        _block("trust document", {"frame": trust_frame()}),
        _block("box document", {"frame": box_frame()}),
        _block("fleet document", {"frame": fleet_frame()}),
    ]
    for step in [enrolment(), *exchange()]:
        body = messages.encode(step.body)
        blocks.append(f"### {step.name}\n\n```json\n{step.parts['header'].decode()}\n{body.decode()}\n```\n")
        blocks.append(_block("", step.parts))
    return "\n".join(blocks)


def _block(title: str, parts: dict[str, bytes]) -> str:
    lines = [
        f"{name if at == 0 else '':<10}{part.hex()[at : at + 96]}"
        for name, part in parts.items()
        for at in range(0, 2 * len(part), 96)
    ]
    heading = f"### {title}\n\n" if title else ""
    return heading + "```hex\n" + "\n".join(lines) + "\n```\n"


def _to_hub(*, mid: str, seq: int, at: int = AT, cid: str = "", re: str = "", rh: str = "") -> Header:
    return Header(
        aud=HUB_ID, iss=SPOKE_ID, mid=mid, cid=cid, ses=NONCE, seq=seq, epo=1, iat=at, exp=at + 900, re=re, rh=rh
    )


def _to_spoke(*, mid: str, seq: int, at: int, cid: str = "") -> Header:
    return Header(aud=SPOKE_ID, iss=HUB_ID, mid=mid, cid=cid, ses=NONCE, seq=seq, epo=1, iat=at, exp=at + 900)


def _step(first: int, header: Header, body: Body) -> Step:
    kind = messages.kind_of(body)
    to_hub = header.aud == HUB_ID
    recipient = FixedBox((HUB_BOX if to_hub else SPOKE_BOX).public.pk, ephemeral=bytes([first + 2]) * 32)
    frame = seal(
        kind,
        header,
        messages.encode(body),
        signer=SPOKE_SIGN if to_hub else HUB_COMMAND,
        recipient=recipient,
        random=counting(first),
    )
    return Step(kind.name.lower(), kind, header, body, frame)


if __name__ == "__main__":
    print(render())
