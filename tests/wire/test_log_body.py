"""Log bodies: what goes in comes out, and no body makes more bytes than one message may carry."""

import os

import pytest
import zstandard

from wire.errors import Code, Refused
from wire.log_body import RECORDS_MAX, pack_records, unpack_records


@pytest.mark.parametrize(
    "records", [b"x", b"a line\n" * 5000, os.urandom(4096), os.urandom(RECORDS_MAX), b"\0" * RECORDS_MAX]
)
def test_records_come_back_as_they_were(records):
    assert unpack_records(pack_records(records)) == records


def test_repeating_text_travels_compressed():
    assert len(pack_records(b"the same line again\n" * 1000)) < 1000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\2abc",
        b"\1",
        b"\1not zstd at all",
        b"\1" + zstandard.compress(b"\0" * (RECORDS_MAX + 1)),
        b"\1" + zstandard.compress(b"abc") + b"more",
        b"\1" + zstandard.compress(b"abc" * 300)[:-3],
        b"\0" + b"x" * (RECORDS_MAX + 1),
    ],
)
def test_a_body_that_is_none_is_refused(body):
    with pytest.raises(Refused) as refused:
        unpack_records(body)
    assert refused.value.code is Code.ENV_SCHEMA
