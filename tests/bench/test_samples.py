"""The package of the bench is what its title says, and its next versions have 1 % more."""

import io
import tarfile
import zipfile
import zlib

import pytest

from bench.samples import files, inserted, write_tar, write_zip

SIZE = 400_000


def test_half_of_the_package_is_incompressible():
    contents = files(SIZE)
    assert sum(map(len, contents)) == SIZE
    shares = [len(zlib.compress(content)) / len(content) for content in contents]
    assert sorted(share > 0.99 for share in shares) == [False] * (len(shares) // 2) + [True] * (len(shares) // 2)


@pytest.mark.parametrize("places", [1, 64])
def test_the_next_version_has_one_percent_more_in_so_many_places(places):
    contents = files(SIZE)
    changed = inserted(contents, places)
    assert sum(map(len, changed)) == SIZE + SIZE // 100 // places * places
    assert inserted(contents, places) == changed
    if places == 1:
        assert sum(before != after for before, after in zip(contents, changed, strict=True)) == 1


def test_archives_hold_the_files(tmp_path):
    contents = files(SIZE)
    with tarfile.open(write_tar(tmp_path / "a.tar", contents)) as tar:
        assert [tar.extractfile(name).read() for name in tar.getnames()] == contents
    with zipfile.ZipFile(io.BytesIO(write_zip(tmp_path / "a.zip", contents).read_bytes())) as archive:
        assert [archive.read(name) for name in archive.namelist()] == contents
