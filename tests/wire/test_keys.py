import hashlib

import pytest

from wire.errors import Code, Refused
from wire.keys import (
    BoxKey,
    BoxPublicKey,
    SigningKey,
    VerifyKey,
    hex_bytes,
    kid_of,
    new_id,
    parse_thumbprint,
    thumbprint,
)


def code_of(act, *args):
    with pytest.raises(Refused) as caught:
        act(*args)
    return caught.value.code


def test_ids_are_32_lowercase_hex_and_do_not_repeat():
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(bytes.fromhex(made)) == 16 and made == made.lower() for made in ids)


def test_a_key_id_is_the_digest_that_the_page_names():
    key = SigningKey.generate().verify_key
    assert key.kid == kid_of(key.pk) == hashlib.sha256(b"manyarm/v1/kid\0ed25519\0" + key.pk).digest()[:16]
    box = BoxKey.generate().public
    assert box.kid == hashlib.sha256(b"manyarm/v1/kid\0x25519\0" + box.pk).digest()[:16]


def test_a_thumbprint_is_the_whole_digest_in_groups_of_four():
    pk = SigningKey.generate().verify_key.pk
    text = thumbprint(pk)
    assert text.startswith("SHA256:")
    assert [len(group) for group in text.removeprefix("SHA256:").split("-")] == [4] * 13
    assert parse_thumbprint(text) == hashlib.sha256(pk).digest()


def test_a_signature_holds_for_its_key_and_bytes_alone():
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign(b"message")
    key.verify_key.verify(b"message", signature)
    assert code_of(key.verify_key.verify, b"massage", signature) is Code.ENV_SIG
    assert code_of(other.verify_key.verify, b"message", signature) is Code.ENV_SIG
    for wrong in (b"", signature[:-1], signature + b"\0", b"x" * 1000):
        assert code_of(key.verify_key.verify, b"message", wrong) is Code.ENV_SIG


def test_a_key_pair_comes_back_from_its_seed():
    key, box = SigningKey.generate(), BoxKey.generate()
    assert SigningKey.from_seed(key.seed).verify_key == key.verify_key
    assert BoxKey.from_bytes(box.secret).public == box.public


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_key_of_another_size_is_none(size):
    assert code_of(VerifyKey, b"\x09" * size) is Code.KEY_WEAK
    assert code_of(BoxPublicKey, b"\x09" * size) is Code.KEY_WEAK


@pytest.mark.parametrize(
    "point",
    [
        "00" * 32,
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ],
)
def test_an_x25519_point_of_low_order_is_no_key(point):
    assert code_of(BoxPublicKey, bytes.fromhex(point)) is Code.KEY_WEAK


def test_a_wrapped_key_opens_with_its_box_alone():
    box, other = BoxKey.generate(), BoxKey.generate()
    cek = b"\x07" * 32
    wrapped = box.public.wrap(cek)
    assert len(wrapped) == 80
    assert box.unwrap(wrapped) == cek
    assert code_of(other.unwrap, wrapped) is Code.ENV_SEAL
    for wrong in (b"", wrapped[:-1], wrapped[:-1] + b"\0", bytes(80), box.public.wrap(b"short")):
        assert code_of(box.unwrap, wrong) is Code.ENV_SEAL


def test_the_same_bytes_give_the_same_object():
    pk, box = SigningKey.generate().verify_key.pk, BoxKey.generate().public.pk
    assert VerifyKey.of(pk) is VerifyKey.of(bytes(bytearray(pk)))
    assert BoxPublicKey.of(box) is BoxPublicKey.of(bytes(bytearray(box)))


def test_no_key_prints_its_secret():
    key, box = SigningKey.generate(), BoxKey.generate()
    for shown in (repr(key), str(key), repr(box), str(box)):
        assert key.seed.hex() not in shown
        assert box.secret.hex() not in shown


@pytest.mark.parametrize("text", ["AA", "aa ", "a", "", "zz", "٠٠", "0x", "aaaa"])
def test_hex_has_one_spelling(text):
    with pytest.raises(ValueError):
        hex_bytes(text, 1)
