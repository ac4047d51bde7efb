"""transfer-package: the file as it was uploaded, whole or not at all, and nothing where it is there already."""

import hashlib
import os

import pytest


@pytest.fixture
def rig(rig_in_turn):
    return rig_in_turn


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "uploaded.zip"
    path.write_bytes(os.urandom(3 * 1024**2 + 7))
    return path


@pytest.fixture
def transfer(rig, package, tmp_path):
    return transferring(rig, package, tmp_path)


def transferring(rig, package, tmp_path):
    def run(properties=None, extension="zip", source=package, sha256=None, **more):
        digest = sha256 or hashlib.sha256(source.read_bytes()).hexdigest()
        reference = {
            "id": "storefront",
            "version": "1.2.3",
            "extension": extension,
            "manifest_id": "5" * 32,
            "sha256": digest,
        }
        given = {"to": str(tmp_path / "inbox/of #{Manyarm.Environment.Name}"), **(properties or {})}
        job = rig.job(
            "transfer-package", given, package=reference, variables={"Manyarm.Environment.Name": "Live"}, **more
        )
        return rig.run(job, packages={"5" * 32: str(source)})

    return run


@pytest.fixture
def inbox(tmp_path):
    return tmp_path / "inbox/of Live"


def test_the_file_lies_there_as_it_was_uploaded_under_every_python(any_rig, package, tmp_path, inbox):
    run = transferring(any_rig, package, tmp_path)()
    assert run.outcome["state"] == "succeeded", run.text()
    assert [path.name for path in inbox.iterdir()] == ["storefront.1.2.3.zip"]
    assert (inbox / "storefront.1.2.3.zip").read_bytes() == package.read_bytes()
    assert (inbox / "storefront.1.2.3.zip").stat().st_mode & 0o7777 == 0o644
    assert run.outcome["outputs"] == [
        {"name": "PackageFile", "value": str(inbox / "storefront.1.2.3.zip"), "secret": False}
    ]


def test_the_same_bytes_are_not_written_again(transfer, inbox):
    transfer()
    before = (inbox / "storefront.1.2.3.zip").stat()
    run = transfer({"mode": "600", "existing": "fail"})
    after = (inbox / "storefront.1.2.3.zip").stat()
    assert "is there already with the same bytes" in run.text()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert after.st_mode & 0o777 == 0o600
    assert run.outcome["outputs"][0]["name"] == "PackageFile"


def test_other_bytes_are_replaced_at_once_or_left_as_the_step_says(transfer, package, inbox):
    transfer({"name": "app.zip"})
    with (inbox / "app.zip").open("rb") as reader:
        old = reader.read(100)
        package.write_bytes(b"another package")
        run = transfer({"name": "app.zip", "existing": "fail"})
        assert "with other bytes, and `existing` says to fail then" in run.outcome["message"]
        assert transfer({"name": "app.zip"}).outcome["state"] == "succeeded"
        reader.seek(0)
        assert reader.read(100) == old, "who has the old file open goes on reading the old file"
    assert (inbox / "app.zip").read_bytes() == b"another package"


def test_a_damaged_file_never_gets_the_name(transfer, inbox):
    run = transfer(sha256="0" * 64)
    assert "the package's file is damaged: its SHA-256 is" in run.outcome["message"]
    assert list(inbox.iterdir()) == []


def test_what_a_killed_transfer_left_goes_with_the_next(transfer, inbox):
    inbox.mkdir(parents=True)
    (inbox / ".manyarm-0123.part").write_text("half")
    (inbox / ".other").write_text("not ours")
    transfer()
    assert sorted(path.name for path in inbox.iterdir()) == [".other", "storefront.1.2.3.zip"]


def test_a_tar_that_the_spoke_unpacked_says_so_by_its_name(transfer, tmp_path, inbox):
    unpacked = tmp_path / "x.tar"
    unpacked.write_bytes(b"a tar")
    transfer(extension="tar.zst", source=unpacked, sha256="0" * 64)
    assert (inbox / "storefront.1.2.3.tar").read_bytes() == b"a tar"


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ({"to": "inbox"}, "to must be an absolute path"),
        ({"to": "/srv/../etc"}, "to must be an absolute path"),
        ({"to": "/srv/a\0b"}, "to must be an absolute path"),
        ({"name": "../evil"}, "cannot have the name '../evil'"),
        ({"name": ".."}, "cannot have the name"),
        ({"name": "a\nb"}, "cannot have the name"),
        ({"name": "ü" * 200}, "cannot have the name"),
        ({"mode": "4755"}, "mode takes three octal digits"),
        ({"mode": "rw"}, "mode takes three octal digits"),
    ],
)
def test_odd_names_and_modes_are_refused(transfer, properties, says):
    assert says in transfer(properties).outcome["message"]


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_plain_file_is_left_alone(transfer, inbox, tmp_path, kind):
    inbox.mkdir(parents=True)
    goal = inbox / "storefront.1.2.3.zip"
    (tmp_path / "precious").write_text("precious")
    {"folder": goal.mkdir, "link": lambda: goal.symlink_to(tmp_path / "precious"), "pipe": lambda: os.mkfifo(goal)}[
        kind
    ]()
    assert "is no plain file; move it away" in transfer().outcome["message"]
    assert (tmp_path / "precious").read_text() == "precious"
    assert goal.is_symlink() == (kind == "link")


def test_a_preview_tells_and_writes_nothing(transfer, package, inbox):
    assert "would put" in transfer(mode="preview").text()
    assert not inbox.exists()
    transfer()
    assert "is there already" in transfer(mode="preview").text()
    package.write_bytes(b"other")
    assert "would replace" in transfer(mode="preview").text()
    assert (inbox / "storefront.1.2.3.zip").stat().st_size > 5


def test_a_preview_that_waits_for_an_earlier_step_says_so(transfer):
    to = "#{Manyarm.Step[Make room].Output.Folder}"
    assert "only in a deployment, which gives Manyarm.Step[Make room]" in transfer({"to": to}, mode="preview").text()


def test_a_disk_that_takes_no_more_leaves_nothing_behind(rig, package, tmp_path, inbox):
    rig.command = ["bash", "-c", 'ulimit -f 1024; exec "$@"', "-", *rig.command]
    run = transferring(rig, package, tmp_path)()
    assert run.outcome["message"].endswith("storefront.1.2.3.zip cannot be written: File too large"), run.text()
    assert list(inbox.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_named(transfer, tmp_path):
    (tmp_path / "file").write_text("")
    assert (
        transfer({"to": str(tmp_path / "file/inbox")}).outcome["message"] == f"Not a directory: {tmp_path}/file/inbox"
    )
