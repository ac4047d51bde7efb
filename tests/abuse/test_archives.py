"""Archives made by an attacker: refused by their numbered rule, before a file is written."""

import gzip
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest

from runner.contract.archives import Limits, inspect, safe_unpack
from runner.contract.errors import ArchiveRefused

BAD_PATHS = [
    "../evil", "/etc/evil", "..\\evil", "C:evil", "C:\\evil", "\\\\host\\share", "//host/share", "a/../../b", "./../x",
    "a\\..\\b", "a/..", "a//b", "a/./b", "..", "a/../b/c",
]  # fmt: skip
BAD_NAMES = [
    "a\x00b", "a\nb", "evil\u202etxt.exe", "\u2066x", "CON", "aux.txt", "dir/NUL.tar.gz", "com1", "LPT9.x", "x.", "x ", "x" * 256,
    "/".join(["d"] * 5000), "/".join(["d"] * 33),
]  # fmt: skip


def zipped(path, entries, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in entries:
            entry = name if isinstance(name, zipfile.ZipInfo) else info(name)
            archive.writestr(entry, content)
    return path


def info(name, mode=0o100644):
    entry = zipfile.ZipInfo("placeholder")
    # The constructor cuts names at a NUL; an attacker's tool does not.
    entry.filename = entry.orig_filename = name
    entry.external_attr = mode << 16
    entry.create_system = 3
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def tarred(path, entries, mode="w", form=tarfile.PAX_FORMAT):
    with tarfile.open(path, mode, format=form) as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def member(name, kind=tarfile.REGTYPE, mode=0o644, **fields):
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


@pytest.fixture
def refused(tmp_path):
    """Asserts the code of the refusal, by looking and by unpacking, and that nothing was written anywhere."""

    def check(path, *codes, limits=None):
        before = sorted(tmp_path.rglob("*"))
        for act in (lambda: inspect(path, limits), lambda: safe_unpack(path, tmp_path / "out", limits)):
            with pytest.raises(ArchiveRefused) as refusal:
                act()
            assert refusal.value.code in codes, str(refusal.value)
            assert len(str(refusal.value)) < 400
            assert str(refusal.value).isprintable()
        assert sorted(tmp_path.rglob("*")) == before

    return check


@pytest.mark.parametrize("name", BAD_PATHS)
def test_t092_a_path_that_leads_outside_is_refused(tmp_path, refused, name):
    refused(zipped(tmp_path / "a.zip", [("good", b"x"), (name, b"evil")]), "ARC_PATH")
    refused(tarred(tmp_path / "a.tar", [(member("good"), b"x"), (member(name), b"evil")]), "ARC_PATH")


def test_t092_overlong_utf8_is_refused(tmp_path, refused):
    path = zipped(tmp_path / "a.zip", [("aXXYYb", b"evil")])
    path.write_bytes(path.read_bytes().replace(b"aXXYYb", b"a\xc0\xae\xc0\xafb"))
    refused(path, "ARC_PATH")


@pytest.mark.parametrize(
    "mode",
    [stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, 0o104755, 0o102755, 0o101777],
)
def test_t093_anything_but_plain_files_and_folders_is_refused_in_a_zip(tmp_path, refused, mode):
    refused(zipped(tmp_path / "a.zip", [(info("link", mode), b"/etc"), ("link/passwd", b"evil")]), "ARC_TYPE")


@pytest.mark.parametrize(
    "entry",
    [
        member("l", tarfile.SYMTYPE, linkname="/etc"), member("l", tarfile.LNKTYPE, linkname="good"), member("l", tarfile.FIFOTYPE),
        member("l", tarfile.CHRTYPE), member("l", tarfile.BLKTYPE), member("l", b"S"), member("l", b"7"), member("l", b"?"),
        member("l", mode=0o4755), member("l", mode=0o2755), member("d", tarfile.DIRTYPE, 0o1777),
    ],
    ids=lambda entry: f"{entry.type!r}{entry.mode:o}",
)  # fmt: skip
def test_t093_anything_but_plain_files_and_folders_is_refused_in_a_tar(tmp_path, refused, entry):
    refused(tarred(tmp_path / "a.tar", [(member("good"), b"x"), (entry, b"")]), "ARC_TYPE", "ARC_FORMAT")


def test_t094_a_bomb_is_refused_in_little_memory(tmp_path, refused):
    zeros = zipped(tmp_path / "a.zip", [("zeros", bytes(64 * 1024**2))])
    with gzip.open(tmp_path / "b.tar.gz", "wb") as out, tarfile.open(fileobj=out, mode="w|") as archive:
        entry = member("zeros")
        entry.size = 256 * 1024**2
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    tracemalloc.start()
    refused(zeros, "ARC_BOMB")
    refused(tmp_path / "b.tar.gz", "ARC_BOMB")
    assert tracemalloc.get_traced_memory()[1] < 64 * 1024**2
    tracemalloc.stop()


def test_t094_ten_gigabytes_of_zeros_are_refused_after_a_small_part_of_them(tmp_path, refused):
    piece = gzip.compress(bytes(64 * 1024**2), 1)
    entry = member("zeros")
    entry.size = 160 * 64 * 1024**2
    with (tmp_path / "a.tar.gz").open("wb") as out:
        out.write(gzip.compress(entry.tobuf(tarfile.GNU_FORMAT)))
        out.writelines([piece] * 160)
    looked_at: list[int] = []

    class Counted(io.FileIO):
        def read(self, size=-1):
            data = super().read(size)
            looked_at.append(len(data))
            return data

    with Counted(tmp_path / "a.tar.gz") as stream, pytest.raises(ArchiveRefused) as refusal:
        inspect(stream, Limits(total_bytes=1 << 40), extension="tar.gz")
    assert refusal.value.code == "ARC_BOMB"
    assert sum(looked_at) < 6 * 1024**2
    refused(tmp_path / "a.tar.gz", "ARC_BOMB")


def test_t099_folders_that_only_stand_above_entries_count_too(tmp_path, refused):
    path = zipped(
        tmp_path / "a.zip", [("/".join(f"{i}-{depth}" for depth in range(31)) + "/f", b"") for i in range(4000)]
    )
    tracemalloc.start()
    refused(path, "ARC_BOMB")
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_as_many_files_as_are_allowed_are_looked_at_in_little_memory(tmp_path):
    names = [f"node_modules/package-{i // 50}/lib/some/deeper/folder/file-name-{i}.js" for i in range(20_000)]
    path = zipped(tmp_path / "a.zip", [(name, b"") for name in names])
    tracemalloc.start()
    assert [entry.name for entry in inspect(path).entries] == names
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_t094_ten_gigabytes_that_a_header_announces_are_refused_unread(tmp_path, refused):
    path = zipped(tmp_path / "a.zip", [("zeros", bytes(1000))])
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = struct.pack("<L", 4_000_000_000)
    path.write_bytes(data)
    refused(path, "ARC_BOMB")


def test_t094_a_size_that_lies_is_found_while_unpacking(tmp_path):
    for claimed, codes in ((500, {"ARC_BOMB"}), (1500, {"ARC_FORMAT"})):
        path = zipped(tmp_path / f"{claimed}.zip", [("zeros", bytes(1000))])
        data = bytearray(path.read_bytes())
        for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            at = data.index(signature) + offset
            data[at : at + 4] = struct.pack("<L", claimed)
        path.write_bytes(data)
        with pytest.raises(ArchiveRefused) as refusal:
            safe_unpack(path, tmp_path / "out")
        assert refusal.value.code in codes
        assert not (tmp_path / "out").exists()
    assert all(found.suffix == ".zip" for found in tmp_path.iterdir())


def test_t095_entries_that_share_or_overlap_bytes_are_refused(tmp_path, refused):
    path = zipped(tmp_path / "a.zip", [("aaaa", b"x" * 500), ("bbbb", b"y" * 500)])
    data = bytearray(path.read_bytes())
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    data[second + 42 : second + 46] = bytes(4)
    path.write_bytes(data)
    refused(path, "ARC_OVERLAP", "ARC_FORMAT")


def test_t095_data_inside_the_central_directory_is_refused(tmp_path, refused):
    path = zipped(tmp_path / "a.zip", [("aaaa", b"x" * 5)])
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    for at in (data.index(b"PK\x03\x04") + 18, central + 20):
        data[at : at + 4] = struct.pack("<L", struct.unpack_from("<L", data, at)[0] + 20)
    path.write_bytes(data)
    refused(path, "ARC_OVERLAP")


@pytest.mark.parametrize(
    ("offset", "value"),
    [(6, b"\x02\x00"), (8, b"\x00\x00"), (14, b"\1\2\3\4"), (18, b"\x09\0\0\0"), (22, b"\x09\0\0\0"), (30, b"evil")],
    ids=["flags", "method", "crc", "packed", "size", "name"],
)
def test_t097_local_and_central_headers_that_disagree_are_refused(tmp_path, refused, offset, value):
    path = zipped(tmp_path / "a.zip", [("good", b"x" * 500)])
    data = bytearray(path.read_bytes())
    data[offset : offset + len(value)] = value
    path.write_bytes(data)
    refused(path, "ARC_FORMAT", "ARC_OVERLAP")


def test_t098_links_and_sparse_files_and_overrides_of_the_tar_kind_are_refused(tmp_path, refused):
    chain = [(member("a", tarfile.SYMTYPE, linkname="b"), b""), (member("b", tarfile.SYMTYPE, linkname=".."), b"")]
    refused(tarred(tmp_path / "chain.tar", [*chain, (member("a/x"), b"")]), "ARC_TYPE")
    for headers, codes in (
        ({"path": "../evil"}, ("ARC_PATH",)),
        ({"path": "/etc/passwd"}, ("ARC_PATH",)),
        ({"linkpath": "/etc"}, ("ARC_TYPE",)),
        ({"GNU.sparse.major": "1"}, ("ARC_TYPE",)),
        ({"GNU.sparse.realsize": "10"}, ("ARC_TYPE",)),
        ({"size": "-1"}, ("ARC_FORMAT",)),
        ({"size": "99999999"}, ("ARC_FORMAT",)),
    ):
        path = tarred(tmp_path / "pax.tar", [(member("good", pax_headers=headers), b"x")])
        refused(path, *codes)
    with tarfile.open(tmp_path / "global.tar", "w", pax_headers={"path": "evil"}) as archive:
        archive.addfile(member("good"))
    refused(tmp_path / "global.tar", "ARC_FORMAT")
    refused(
        tarred(tmp_path / "long.tar", [(member("x" * 300 + "/../../y"), b"")], form=tarfile.GNU_FORMAT),
        "ARC_PATH",
        "ARC_NAME",
    )


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:20])
def test_t099_names_that_some_system_cannot_hold_are_refused(tmp_path, refused, name):
    refused(zipped(tmp_path / "a.zip", [(name, b"evil")]), "ARC_NAME", "ARC_FORMAT")
    if "\0" not in name:
        refused(tarred(tmp_path / "a.tar", [(member(name), b"evil")]), "ARC_NAME")


def test_t099_too_many_entries_are_refused_before_they_are_read(tmp_path, refused):
    few = Limits(entries=100)
    refused(zipped(tmp_path / "a.zip", [(f"f{i}", b"") for i in range(101)]), "ARC_BOMB", limits=few)
    refused(tarred(tmp_path / "a.tar", [(member(f"f{i}"), b"") for i in range(101)]), "ARC_BOMB", limits=few)
    claims = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 60_000, 60_000, 0, 0, 0)
    (tmp_path / "b.zip").write_bytes(claims)
    refused(tmp_path / "b.zip", "ARC_BOMB")


@pytest.mark.parametrize(
    "names",
    [
        ("a", "a"),
        ("a", "A"),
        ("a", "a/b"),
        ("a/b", "A/c"),
        ("caf\u00e9", "cafe\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("d/", "d"),
    ],
)
def test_t099_two_entries_for_one_place_are_refused(tmp_path, refused, names):
    refused(zipped(tmp_path / "a.zip", [(name, b"") for name in names]), "ARC_DUP", "ARC_TYPE")
    if names != ("d/", "d"):
        refused(tarred(tmp_path / "a.tar", [(member(name), b"") for name in names]), "ARC_DUP")


def test_t101_encrypted_and_unknown_methods_are_named(tmp_path, refused):
    for signature_at, flag in ((6, 8), (6, 8)):
        path = zipped(tmp_path / "a.zip", [("good", b"x" * 500)])
        data = bytearray(path.read_bytes())
        central = data.index(b"PK\x01\x02")
        data[signature_at] |= 1
        data[central + flag] |= 1
        path.write_bytes(data)
    with pytest.raises(ArchiveRefused, match="encrypted"):
        inspect(path)
    refused(path, "ARC_FORMAT")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("good", b"x" * 500)
    with pytest.raises(ArchiveRefused, match="method 14"):
        inspect(tmp_path / "b.zip")


def test_t101_an_archive_in_an_archive_stays_shut(tmp_path):
    inner = zipped(tmp_path / "inner.zip", [("../evil", b"x")]).read_bytes()
    safe_unpack(zipped(tmp_path / "outer.zip", [("inner.zip", inner)]), tmp_path / "out")
    assert (tmp_path / "out/inner.zip").read_bytes() == inner


def test_t102_two_archives_in_one_file_are_refused(tmp_path, refused):
    one = zipped(tmp_path / "one.zip", [("good", b"x")]).read_bytes()
    two = zipped(tmp_path / "two.zip", [("evil", b"x")]).read_bytes()
    with_comment = bytearray(one)
    with_comment[-2:] = struct.pack("<H", len(two))
    for number, data in enumerate(
        (b"#!/bin/sh\n" + one, one + two, one + b"trailing", bytes(with_comment) + two, one[:-1], b"", b"PK")
    ):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(data)
        refused(path, "ARC_FORMAT", "ARC_OVERLAP")


def test_t102_bytes_around_a_tar_and_its_compression_are_refused(tmp_path, refused):
    plain = tarred(tmp_path / "plain.tar", [(member("good"), b"x" * 700)]).read_bytes()
    packed = gzip.compress(plain)
    for name, data in (
        ("1.tar", plain + b"evil" * 128),
        ("2.tar", b"#!/bin/sh\n" + plain),
        ("3.tar", plain[:1000]),
        ("4.tar", plain[:1536]),
        ("5.tar.gz", packed + b"evil"),
        ("6.tar.gz", packed[:-9]),
        ("7.tar.gz", plain),
        ("8.tar.bz2", packed),
        ("9.tar", b""),
    ):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, "ARC_FORMAT")


def test_t102_content_that_belies_its_extension_is_refused(tmp_path, refused):
    tar = tarred(tmp_path / "a.tar", [(member("good"), b"x")])
    os.rename(tar, tmp_path / "a.zip")
    refused(tmp_path / "a.zip", "ARC_FORMAT")
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    refused(tmp_path / "a.rar", "ARC_FORMAT")


def test_an_honest_git_archive_and_honest_tools_are_read(tmp_path):
    """What real tools write: a comment with a commit, global headers, GNU long names, data descriptors, `./` names."""
    source = tmp_path / "source"
    deep = source / ("long-folder-name-" * 6) / ("long-file-name-" * 6)
    deep.mkdir(parents=True)
    (deep / "file.txt").write_text("content")
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    subprocess.run(["tar", "-C", source, "-cf", tmp_path / "gnu.tar", "."], check=True)
    subprocess.run(["tar", "-C", source, "-czf", tmp_path / "gnu.tar.gz", "--format=posix", "."], check=True)
    with zipfile.ZipFile(tmp_path / "stream.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"0123456789abcdef0123456789abcdef01234567"
        with archive.open("run.sh", "w") as out:
            out.write(b"#!/bin/sh\n")

    class Unseekable(io.RawIOBase):
        def __init__(self, out):
            self.out = out

        def writable(self):
            return True

        def write(self, data):
            return self.out.write(data)

    with (
        (tmp_path / "descriptor.zip").open("wb") as raw,
        zipfile.ZipFile(Unseekable(raw), "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.writestr("run.sh", "#!/bin/sh\n")
        archive.writestr("other", "y" * 9999)
    for number, name in enumerate(("gnu.tar", "gnu.tar.gz", "stream.zip", "descriptor.zip")):
        safe_unpack(tmp_path / name, tmp_path / f"out{number}")
        assert (tmp_path / f"out{number}/run.sh").read_text() == "#!/bin/sh\n"
    assert next((tmp_path / "out0").rglob("file.txt")).read_text() == "content"
    assert os.access(tmp_path / "out0/run.sh", os.X_OK)


def test_no_single_changed_byte_crashes_the_readers(tmp_path):
    """Every byte of a small archive changed in turn: unpacked or refused, nothing else, and nothing outside."""
    (tmp_path / "work").mkdir()
    for name, path in (
        ("zip", zipped(tmp_path / "a.zip", [("dir/good", b"hello" * 20), ("b", b"x")])),
        ("tar", tarred(tmp_path / "a.tar", [(member("dir/good"), b"hello" * 20)])),
    ):
        data = path.read_bytes()[:1600]
        whole = path.read_bytes()
        for at in range(0, len(data), 1 if name == "zip" else 7):
            broken = bytearray(whole)
            broken[at] ^= 0x41
            target = tmp_path / "work" / f"x.{name}"
            target.write_bytes(broken)
            try:
                safe_unpack(target, tmp_path / "work/out")
                subprocess_free_remove(tmp_path / "work/out")
            except ArchiveRefused:
                assert [p.name for p in (tmp_path / "work").iterdir()] == [target.name]
            target.unlink()
    assert zlib.crc32(whole) == zlib.crc32(path.read_bytes())


def subprocess_free_remove(path):
    import shutil

    shutil.rmtree(path)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python reads zstd itself")
def test_a_zst_that_this_python_cannot_read_is_told_in_a_sentence(tmp_path, refused):
    (tmp_path / "a.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    refused(tmp_path / "a.tar.zst", "ARC_FORMAT")
