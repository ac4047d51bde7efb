"""Packages come in as a bare file, as a form, or as the chunks that are missing; what is refused leaves nothing."""

import gzip
import hashlib
import io
import json
import random

import pytest

from hub.packages.incoming import PushListing
from hub.storage.database import connection
from hub.storage.models import Chunk, PackageVersion, StoredManifest
from tests.fakes.feed import push_body, tar_of, zip_of
from wire.chunks import split


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stored() -> tuple[int, int, int]:
    with connection():
        return tuple(table.select().count() for table in (PackageVersion, StoredManifest, Chunk))


def form(*parts: tuple[str, bytes], boundary: str = "xyzzy") -> dict:
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    )
    return {"data": body + f"--{boundary}--\r\n".encode(), "content_type": f"multipart/form-data; boundary={boundary}"}


def test_a_bare_file_becomes_a_version_and_again_is_the_same_version(api):
    content = zip_of(index=b"one")
    first = api.push("shop.1.0.0.zip", content)
    assert first.status_code == 201, first.text
    assert (first.json["id"], first.json["version"], first.json["sha256"]) == ("shop", "1.0.0", sha256(content))
    assert first.json["chunks_new"] > 0
    again = api.push("shop.1.0.0.zip", content)
    assert (again.status_code, again.json["chunks_new"]) == (200, 0)
    assert api.get(first.headers["Location"]).json["size"] == len(content)
    assert api.get("/packages/shop").json == {"id": "shop", "versions": 1, "newest": "1.0.0"}


def test_other_bytes_under_the_same_version_are_refused_and_forgotten(api):
    api.push("twice.1.0.0.zip", zip_of(index=b"one"))
    before = stored()
    refused = api.push("twice.1.0.0.zip", zip_of(index=random.Random(1).randbytes(300_000)))
    assert refused.status_code == 409, refused.text
    assert stored() == before


def test_a_form_with_a_file_is_read_as_it_comes(api):
    content = tar_of(index=random.Random(2).randbytes(900_000))
    head = 'name="file"; filename="formed.2.0.0.tar"'
    pushed = api.call("POST", "/packages", **form(('name="note"', b"hello"), (head, content)))
    assert pushed.status_code == 201, pushed.text
    assert (pushed.json["id"], pushed.json["sha256"]) == ("formed", sha256(content))


@pytest.mark.parametrize(
    "request_",
    [
        form(('name="note"', b"no file")),
        form(('name="file"; filename="../../etc/passwd"', b"x")),
        form(('name="file"; filename=""', b"x")),
        {
            "data": form(('name="f"; filename="cut.1.0.0.zip"', b"x" * 99))["data"][:120],
            "content_type": "multipart/form-data; boundary=xyzzy",
        },
        {"data": b"x", "content_type": "multipart/form-data"},
        {"data": b"x", "content_type": "application/octet-stream"},
    ],
)
def test_a_form_that_is_none_is_refused(api, request_):
    before = stored()
    assert api.call("POST", "/packages", **request_).status_code == 400
    assert stored() == before


@pytest.mark.parametrize(
    "name", ["shop.zip", "shop.1.0.0.exe", "../shop.1.0.0.zip", "shop.1.0.0.zip%00.exe", "a" * 500 + ".1.0.0.zip"]
)
def test_a_file_name_that_says_no_package_is_refused(api, name):
    before = stored()
    assert api.call("POST", f"/packages?name={name}", data=b"x", content_type="application/zip").status_code == 400
    assert stored() == before


def test_only_chunks_that_the_hub_lacks_are_sent(api):
    first = tar_of(index=random.Random(3).randbytes(600_000))
    api.push("delta.1.0.0.tar", first)
    second = tar_of(index=random.Random(3).randbytes(600_000) + b"and a little more")
    chunks = list(split(io.BytesIO(second)))
    listing = PushListing(len(second), sha256(second), tuple((sha256(chunk), len(chunk)) for chunk in chunks))
    wanted = api.post("/packages/missing", {"name": "delta.1.1.0.tar", **listing.to_json()})
    assert wanted.status_code == 200, wanted.text
    assert 0 < len(wanted.json["missing"]) < len(chunks)
    body = push_body("delta.1.1.0.tar", listing, [chunks[index] for index in wanted.json["missing"]])
    assert len(body) < len(second) / 2
    pushed = api.call("POST", "/packages", data=body, content_type="application/vnd.manyarm.chunks")
    assert (pushed.status_code, pushed.json["version"]) == (201, "1.1.0")
    elsewhere = api.post("/packages/missing", {"name": "other.1.1.0.tar", **listing.to_json()})
    assert len(elsewhere.json["missing"]) == len(chunks)


def test_a_push_may_come_packed(api):
    whole = tar_of(index=random.Random(4).randbytes(50_000))
    chunks = list(split(io.BytesIO(whole)))
    listing = PushListing(len(whole), sha256(whole), tuple((sha256(chunk), len(chunk)) for chunk in chunks))
    asked = gzip.compress(json.dumps({"name": "packed.1.0.0.tar", **listing.to_json()}).encode())
    packed = {"Content-Encoding": "gzip"}
    wanted = api.call("POST", "/packages/missing", data=asked, content_type="application/json", headers=packed)
    assert wanted.json["missing"] == list(range(len(chunks)))
    body = gzip.compress(push_body("packed.1.0.0.tar", listing, chunks))
    kind = "application/vnd.manyarm.chunks"
    pushed = api.call("POST", "/packages", data=body, content_type=kind, headers=packed)
    assert (pushed.status_code, pushed.json["version"]) == (201, "1.0.0"), pushed.data


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", b"no gzip at all", 400),
        ("gzip", gzip.compress(b"x" * 1000)[:-4], 400),
        ("gzip", gzip.compress(b"{}") + b"more", 400),
        ("gzip", gzip.compress(bytes(64 * 1024 * 1024)), 413),
        ("br", b"{}", 415),
    ],
    ids=["no gzip", "cut off", "more after the end", "far more than a listing may have", "another packing"],
)
def test_what_is_packed_badly_is_refused(api, encoding, body, status):
    headers = {"Content-Encoding": encoding}
    found = api.call("POST", "/packages/missing", data=body, content_type="application/json", headers=headers)
    assert found.status_code == status, found.data


def test_a_retry_with_its_key_is_the_same_push(api):
    once = {"Idempotency-Key": "push-1"}
    for replayed in (False, True):
        pushed = api.call(
            "POST", "/packages?name=kept.1.0.0.zip", data=zip_of(a=b"1"), content_type="application/zip", headers=once
        )
        assert (pushed.status_code, json.loads(pushed.data)["version"]) == (201, "1.0.0"), replayed


def test_a_version_that_a_release_names_stays(api):
    api.push("used.1.0.0.zip")
    step = {"name": "Web", "kind": "deploy-package", "roles": ["web"], "package": "used"}
    assert api.post("/projects", {"name": "User", "process": [step]}).status_code == 201
    api.post("/releases", {"project": "User"})
    assert api.delete("/packages/used/versions/1.0.0").status_code == 409
    api.push("used.1.1.0.zip")
    assert api.delete("/packages/used/versions/1.1.0").status_code == 204
    assert [found["version"] for found in api.get("/packages/used/versions").json["items"]] == ["1.0.0"]
