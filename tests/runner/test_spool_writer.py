"""How lines become records: whole lines where there are any, whole characters where a line is too long."""

import pytest

from runner.contract.spool import CONTENT_MAX_BYTES, Stream, read_records
from runner.spool_writer import SpoolWriter


def records_of(tmp_path, *pieces):
    writer = SpoolWriter(tmp_path / "output", 1 << 30)
    for piece in pieces:
        writer.output(Stream.STDOUT, piece)
    writer.close()
    return [record.content for record in read_records((tmp_path / "output").read_bytes())]


def test_records_end_where_lines_end(tmp_path):
    lines = b"".join(b"%d\n" % number for number in range(30_000))
    found = records_of(tmp_path, lines)
    assert b"".join(found) == lines
    assert all(record.endswith(b"\n") for record in found)


@pytest.mark.parametrize("ahead", range(4))
@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_a_line_that_is_too_long_is_cut_between_characters(tmp_path, ahead, character):
    line = b"x" * ahead + (character * 100_000).encode() + b"\n"
    found = records_of(tmp_path, line)
    assert b"".join(found) == line
    assert len(found) > 2
    assert all(record.decode() for record in found)


def test_a_line_that_is_no_text_is_cut_all_the_same(tmp_path):
    line = b"\x80" * (3 * CONTENT_MAX_BYTES)
    found = records_of(tmp_path, line, b"\n")
    assert b"".join(found) == line + b"\n"
    assert max(map(len, found)) == CONTENT_MAX_BYTES
