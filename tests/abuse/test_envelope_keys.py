"""Weak keys, malleated signatures and second spellings of what people type."""

import pytest

from tests.fakes.forging import code_of, receive, refusal
from tests.fakes.parties import NOW, FakeHub, FakeSpoke, command
from wire.envelope import Header, MessageType, seal, verify_enrol
from wire.errors import Code, Refused
from wire.join_code import JoinCode
from wire.keys import SigningKey, VerifyKey, kid_of, new_id, parse_thumbprint, thumbprint

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def spoke(hub) -> FakeSpoke:
    made = hub.new_spoke()
    hub.open_session(made)
    return made


@pytest.fixture
def frame(hub, spoke) -> bytes:
    return hub.send(spoke, command()).frame


SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
]
NON_CANONICAL = [
    (FIELD + small | sign << 255).to_bytes(32, "little").hex() for small in (0, 1, 2, 3, 18) for sign in (0, 1)
] + ["01" + "00" * 30 + "80", "ff" * 32, "ee" + "ff" * 30 + "7f"]


@pytest.mark.parametrize("point", SMALL_ORDER + NON_CANONICAL)
def test_t026_weak_and_non_canonical_points_are_no_keys_and_no_r(hub, spoke, frame, point):
    raw = bytes.fromhex(point)
    assert code_of(VerifyKey, raw) is Code.KEY_WEAK
    for scalar in (bytes(32), b"\x01" + bytes(31), frame[-32:]):
        assert code_of(receive, spoke, frame[:-64] + raw + scalar) is Code.ENV_SIG


def test_t026_a_malleated_signature_does_not_hold(hub, spoke, frame):
    scalar = int.from_bytes(frame[-32:], "little")
    for times in range(1, 8):
        malleated = scalar + times * GROUP_ORDER
        assert code_of(receive, spoke, frame[:-32] + malleated.to_bytes(32, "little")) is Code.ENV_SIG


# RFC 8032, section 7.1: TEST 1, 2 and 3.
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("pk", "message", "signature"), RFC_8032)
def test_t026_the_vectors_of_rfc_8032_hold_and_with_one_bit_changed_do_not(pk, message, signature):
    key, text, good = VerifyKey(bytes.fromhex(pk)), bytes.fromhex(message), bytes.fromhex(signature)
    key.verify(text, good)
    for bit in range(512):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        assert code_of(key.verify, text, bytes(changed)) is Code.ENV_SIG


def test_t026_a_weak_key_cannot_be_enrolled(hub):
    identity_point = bytes.fromhex(SMALL_ORDER[0])
    header = Header(
        aud=hub.hub_id, iss="", mid=new_id(), cid="", ses="", seq=0, epo=1, iat=NOW, exp=NOW + 60,
        sign_pk=identity_point.hex(), trust="0" * 64,
    )  # fmt: skip
    frame = seal(MessageType.ENROL, header, b"{}", signer=SigningKey.generate(), recipient=hub.box.public)
    forged = frame[:12] + kid_of(identity_point) + frame[28:-64] + identity_point + bytes(32)
    assert code_of(verify_enrol, forged) is Code.KEY_WEAK


def test_t028_every_second_spelling_of_a_join_code_is_mistyped():
    good = JoinCode(b"\x01" * 32, b"\x02" * 8, b"\x03" * 16, "hub.example:8443").text
    assert JoinCode.parse(good).text == good
    last = "abcdefghijklmnopqrstuvwxyz234567"
    spellings = [
        good.upper(), good + "=", good + "\n", "\n" + good, " " + good, good[:40] + "\n" + good[40:], good + "a",
        good[:-1], good.replace("maj1-", "maj2-"), good.replace("maj1-", ""), good.replace("a", "\uff41", 1),
        good.replace("2", "\uff12", 1) if "2" in good[5:] else good[:-1] + "\uff12", good[:20] + "-" + good[20:],
        "", "maj1-", "maj1-" + "a" * 100, "maj1-" + "a" * 10_000, good[:9] + "1" + good[10:], good[:9] + "+" + good[10:],
    ]  # fmt: skip
    spellings += [good[:-1] + letter for letter in last if letter != good[-1]]
    for text in spellings:
        refused = refusal(JoinCode.parse, text)
        assert refused.code is Code.JOIN_BAD
        assert "mistyped" in refused.detail


def is_mistyped(text: str) -> bool:
    try:
        parse_thumbprint(text)
    except Refused as refused:
        return "mistyped" in refused.detail
    return False


def test_t028_every_second_spelling_of_a_thumbprint_is_mistyped():
    good = thumbprint(b"\x07" * 32)
    digest = parse_thumbprint(good)
    assert parse_thumbprint(good.replace("-", "")) == digest
    others = [good[:-1] + letter for letter in "abcdefghijklmnopqrstuvwxyz234567" if letter != good[-1]]
    assert sum(map(is_mistyped, others)) == 30
    assert digest not in [parse_thumbprint(text) for text in others if not is_mistyped(text)]
    for text in (good.upper(), good + "\n", good[:-1], good + "a", good.replace("SHA256:", ""), good.replace("-", " ")):
        refused = refusal(parse_thumbprint, text)
        assert refused.code is Code.JOIN_BAD
        assert "mistyped" in refused.detail
