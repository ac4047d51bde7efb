"""Masking: every encoding, every way of cutting the stream."""

import base64
import html
import json
import random
import string
import urllib.parse

import pytest

from runner.contract import masking
from runner.contract.masking import Masker, Patterns, mask_text, weakness

ENCODINGS = {
    "raw": lambda s: s.encode(),
    "utf-16le": lambda s: s.encode("utf-16-le"),
    "utf-16be": lambda s: s.encode("utf-16-be"),
    "hex": lambda s: s.encode().hex().encode(),
    "HEX": lambda s: s.encode().hex().upper().encode(),
    "base64": lambda s: base64.b64encode(s.encode()),
    "base64+1": lambda s: base64.b64encode(b"x" + s.encode() + b"yz"),
    "base64+2": lambda s: base64.b64encode(b"xy" + s.encode() + b"z"),
    "base64url": lambda s: base64.urlsafe_b64encode(s.encode()),
    "base64-utf16": lambda s: base64.b64encode(s.encode("utf-16-le")),
    "base64-utf16+1": lambda s: base64.b64encode(b"e\0" + s.encode("utf-16-le")),
    "percent": lambda s: urllib.parse.quote(s, safe="").encode(),
    "percent+": lambda s: urllib.parse.quote_plus(s).encode(),
    "json": lambda s: json.dumps(s).encode(),
    "html": lambda s: html.escape(s).encode(),
    "dollars": lambda s: s.replace("$", "$$").encode(),
    "shell": lambda s: ("'" + s.replace("'", "'\\''") + "'").encode(),
    "reversed": lambda s: s[::-1].encode(),
}
ALPHABET = string.ascii_letters + string.digits + "$\"'&%/+=<>@ !äß€"


def chunked(data, rng):
    at = 0
    while at < len(data):
        size = rng.choice((1, 2, 3, 7, 30, 200))
        yield data[at : at + size]
        at += size


@pytest.fixture(params=["one by one", "all at once"], autouse=True)
def way(request, monkeypatch):
    """Few patterns are looked for one by one, many all at once: each way must find the same."""
    monkeypatch.setattr(masking, "_MANY", 10**9 if request.param == "one by one" else 0)
    return request.param


@pytest.mark.parametrize("count", [1, 4, 30])
def test_no_secret_leaks_in_any_encoding_however_the_stream_is_cut(count):
    rng = random.Random(20261 + count)
    for trial in range(max(2, 60 // count)):
        secrets = ["".join(rng.choices(ALPHABET, k=rng.randint(6, 40))) for _ in range(count)]
        secrets = [s for s in secrets if s.strip() == s] or ["a secret & more"]
        known = Patterns(secrets)
        for name, encode in ENCODINGS.items():
            secret = rng.choice(secrets)
            printed = encode(secret)
            data = b"before " + printed + b" after\n"
            masker = Masker(known)
            seen = b"".join(masker.feed(c) for c in chunked(data, rng)) + masker.flush()
            core = printed.strip(b"=\"'")[2:-4]
            assert b"***" in seen, (trial, name, secret)
            assert len(core) < 4 or core not in seen, (trial, name, secret, seen)


def test_no_line_of_a_secret_of_many_lines_leaks_in_any_encoding():
    rng = random.Random(31)
    for _ in range(6):
        lines = [
            "".join(rng.choices(string.ascii_letters + string.digits + "+/", k=64)) for _ in range(rng.randint(2, 6))
        ]
        secret = "-----BEGIN KEY-----\n" + "\n".join(lines) + "\n-----END KEY-----\n"
        known = Patterns([secret])
        shapes = {
            "whole": secret,
            "joined": "".join(lines),
            "escaped": json.dumps(secret),
            "rewrapped": "\n".join("".join(lines)[at : at + 76] for at in range(0, 64 * len(lines), 76)),
            "numbered": "".join(f"{number}: {line}\r\n" for number, line in enumerate(lines)),
        }
        for shape, text in shapes.items():
            masker = Masker(known)
            seen = b"".join(masker.feed(c) for c in chunked(text.encode(), rng)) + masker.flush()
            leaked = [at for line in lines for at in range(64 - 12) if line[at : at + 12].encode() in seen]
            assert not leaked, (shape, seen)
        for name in ("base64", "base64+1", "base64+2", "base64-utf16", "hex", "utf-16le"):
            printed = ENCODINGS[name](secret)
            masker = Masker(known)
            seen = b"".join(masker.feed(c) for c in chunked(printed, rng)) + masker.flush()
            assert not [at for at in range(4, len(printed) - 20, 7) if printed[at : at + 16] in seen], name


def test_the_result_is_the_same_for_every_way_of_cutting_the_stream_and_of_looking(monkeypatch):
    rng = random.Random(7)
    for _ in range(400):
        secrets = ["".join(rng.choices("ab", k=rng.randint(4, 7))) for _ in range(3)]
        known = Patterns(secrets)
        data = "".join(rng.choices("abc\n", k=60)).encode()
        whole = Masker(known)
        expected = whole.feed(data) + whole.flush()
        masker = Masker(known)
        assert b"".join(masker.feed(c) for c in chunked(data, rng)) + masker.flush() == expected
        monkeypatch.setattr(masking, "_MANY", 10**9 - masking._MANY)
        other = Masker(known)
        assert other.feed(data) + other.flush() == expected


def test_what_is_held_back_is_the_longest_beginning_of_a_pattern():
    rng = random.Random(13)
    for _ in range(300):
        known = Patterns(["".join(rng.choices("abc", k=rng.randint(4, 9))) for _ in range(4)])
        data = "".join(rng.choices("abc", k=rng.randint(0, 20))).encode()
        begun = [n for p in known._known for n in range(1, min(len(p), len(data) + 1)) if data.endswith(p[:n])]
        assert known.unfinished(data) == max(begun, default=0)


def test_overlapping_secrets_leave_no_rest():
    assert mask_text("xabcdefghiy", Patterns(["abcdef", "defghi"])) == "x***y"


def test_an_unfinished_prefix_is_held_and_all_else_flows():
    masker = Masker(["hunter22"])
    assert masker.feed(b"prompt> hun") == b"prompt> "
    assert masker.feed(b"ter22!") == b"***!"
    assert masker.feed(b"hunt") == b""
    assert masker.flush() == b"hunt"


def test_a_secret_that_joins_later_is_masked_from_then_on():
    known = Patterns()
    masker = Masker(known)
    assert masker.feed(b"s3cr3t-value\n") == b"s3cr3t-value\n"
    known.add("s3cr3t-value")
    assert masker.feed(b"s3cr3t-value\n") == b"***\n"


@pytest.mark.parametrize("value", ["", "abc", "true", "password", "   "])
def test_a_weak_secret_is_named_and_not_masked(value):
    assert weakness(value)
    assert mask_text("true password abc", Patterns([value])) == "true password abc"


def test_the_memory_of_a_stream_is_bounded_by_its_longest_pattern():
    masker = Masker(["aaaaaaaaaaaa"])
    for _ in range(200):
        assert masker.feed(b"a" * 1000) in (b"", b"***")
        assert len(masker._held) < 12
