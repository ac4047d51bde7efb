"""What the gateway answers, route by route."""

import hashlib
import io
import struct
import subprocess

import pytest

from hub.gateway.install import install_command, wheel_on_offer
from hub.infrastructure.spokes import approve_spoke, revoke_spoke
from hub.packages.references import capability_for, refs_for
from hub.states import Approval, InboxKind
from hub.storage.database import write_tx
from hub.storage.models import GatewayInbox, Installation, Spoke, StoredManifest
from tests.fakes.enrolling import Machine
from tests.fakes.feed import noise, tar_of
from wire.chunks_artifact import open_artifact, seal_artifact
from wire.chunks_sealed import open_chunk, open_manifest, read_chunk_stream
from wire.documents import BoxDocument
from wire.keys import new_id
from wire.trust import TrustChain


@pytest.fixture
def spoke(enrolling, hub) -> Spoke:
    enrolling.take(Machine(hub).frame(enrolling.code(approve=Approval.AUTO)))
    return Spoke.get()


@pytest.fixture
def package(feed):
    return feed.push("app.1.0.0.tar", tar_of(data=noise(400_000)))


def later(hub) -> int:
    return hub.acting().now_ms // 1_000 + 600


def test_the_trust_chain_verifies_from_the_root_thumbprint(client, hub):
    body = client.get("/gateway/v1/trust?from=1").data
    (size,) = struct.unpack_from(">I", body)
    assert len(body) == 4 + size
    root = bytes.fromhex(Installation.get_by_id(1).root_thumbprint)
    assert TrustChain.from_root(root, [body[4:]]).document.hub == hub.hub_id
    assert client.get("/gateway/v1/trust?from=2").data == b""


@pytest.mark.parametrize("text", ["", "-1", "x", "1.5", "٣", "9" * 20, "1;--"])
def test_a_version_that_is_none_is_refused(client, text):
    assert client.get("/gateway/v1/trust", query_string={"from": text}).status_code == 400


def test_the_box_key_is_certified(client, hub):
    frame = client.get("/gateway/v1/box").data
    document = BoxDocument.open(frame, hub.trust.directory(), hub.acting().now_ms // 1_000, hub.hub_id)
    assert document.box == hub.boxes[0].public


def test_an_enrolment_goes_in_waits_and_is_answered(client, enrolling, hub):
    machine = Machine(hub)
    frame = machine.frame(enrolling.code())
    accepted = client.post("/gateway/v1/enrol", data=frame.frame)
    assert (accepted.status_code, accepted.json) == (202, {"id": frame.sha256})
    where = f"/gateway/v1/enrol/{frame.sha256}"
    assert client.get(where).status_code == 202
    assert enrolling.enrolments.sweep() == 1
    assert (client.get(where).status_code, client.get(where).json) == (202, {"code": "JOIN_PENDING"})
    with write_tx():
        approve_spoke(hub.acting(), Spoke.get().id)
    enrolling.rollout.sweep()
    answer = client.get(where)
    assert answer.status_code == 200
    assert machine.opened(answer.data, frame).spoke_id == Spoke.get().id


def test_a_spoke_fetches_what_its_capability_names(client, hub, spoke, package):
    ref = refs_for(hub.engine, package.id)
    capability = capability_for(hub.engine, spoke.id, [ref.manifest_id], later(hub))
    header = {"Manyarm-Capability": capability}
    sealed = client.get(f"/gateway/v1/manifests/{ref.manifest_id}", headers=header).data
    manifest = open_manifest(bytes.fromhex(ref.manifest_key), ref.manifest_id, sealed, ref.manifest_sha256)
    ids = [chunk.id.hex() for chunk in manifest.chunks]
    stream = client.post("/gateway/v1/chunks", json={"capability": capability, "ids": ids}).data
    stored = dict(read_chunk_stream(io.BytesIO(stream)))
    whole = b"".join(open_chunk(c.key, c.id, stored[c.id], c.length, c.sha256) for c in manifest.chunks)
    assert hashlib.sha256(whole).hexdigest() == ref.sha256
    one = client.get(f"/gateway/v1/chunks/{ids[0]}", headers=header)
    assert one.data == stored[manifest.chunks[0].id]


def test_a_capability_opens_nothing_but_what_it_names(client, hub, spoke, feed, package):
    other = feed.push("secret.1.0.0.tar", tar_of(data=noise(400_000, seed=7)))
    theirs, mine = refs_for(hub.engine, other.id), refs_for(hub.engine, package.id)
    capability = capability_for(hub.engine, spoke.id, [mine.manifest_id], later(hub))
    header = {"Manyarm-Capability": capability}
    assert client.get(f"/gateway/v1/manifests/{theirs.manifest_id}", headers=header).status_code == 403
    sealed = StoredManifest.get_by_id(theirs.manifest_id).sealed
    manifest = open_manifest(bytes.fromhex(theirs.manifest_key), theirs.manifest_id, sealed, theirs.manifest_sha256)
    chunk = manifest.chunks[3].id.hex()
    assert client.get(f"/gateway/v1/chunks/{chunk}", headers=header).status_code == 404
    asked = client.post("/gateway/v1/chunks", json={"capability": capability, "ids": [chunk]})
    assert asked.status_code == 404


def test_a_capability_dies_with_its_time_its_spoke_and_its_bytes(client, hub, spoke, package):
    manifest = refs_for(hub.engine, package.id).manifest_id
    good = capability_for(hub.engine, spoke.id, [manifest], later(hub))
    where = f"/gateway/v1/manifests/{manifest}"
    assert client.get(where, headers={"Manyarm-Capability": good}).status_code == 200
    old = capability_for(hub.engine, spoke.id, [manifest], 1_000)
    assert client.get(where, headers={"Manyarm-Capability": old}).json["code"] == "ENV_EXPIRED"
    forged = good[:-2] + ("AA" if not good.endswith("AA") else "BB")
    assert client.get(where, headers={"Manyarm-Capability": forged}).json["code"] == "ENV_SIG"
    with write_tx():
        revoke_spoke(hub.acting(), spoke.id)
    assert client.get(where, headers={"Manyarm-Capability": good}).json["code"] == "ENV_KEY"


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"ids": []}, {"capability": 1, "ids": []}, {"capability": "x", "ids": "y"}, "NaN"]
    + [{"capability": "x", "ids": [bad]} for bad in (1, "", "g" * 64, "../x", "F" * 64)]
    + [{"capability": "x", "ids": ["a" * 64] * 4_097}, {"capability": "x", "ids": [], "more": 1}],
    ids=lambda body: str(body)[:40],
)
def test_a_malformed_request_for_chunks_is_refused(client, body):
    answer = client.post("/gateway/v1/chunks", json=body)
    assert answer.status_code == 400
    assert set(answer.json) == {"code", "message", "ref"}


def test_an_artifact_is_kept_unopened(client, hub, spoke):
    job, artifact = new_id(), new_id()
    capability = capability_for(hub.engine, spoke.id, [], later(hub), job)
    sealed = b"".join(seal_artifact(io.BytesIO(b"report" * 1_000), hub.boxes[0].public, artifact))
    where, header = f"/gateway/v1/artifacts/{artifact}", {"Manyarm-Capability": capability}
    answer = client.put(where, data=sealed, headers=header)
    assert (answer.status_code, answer.json["size"]) == (201, len(sealed))
    row = GatewayInbox.get(GatewayInbox.kind == InboxKind.ARTIFACT)
    assert row.detail == {"spoke": spoke.id, "job": job, "artifact": artifact}
    kept = hub.home / "artifacts" / "incoming" / row.path
    assert b"".join(open_artifact(io.BytesIO(kept.read_bytes()), hub.boxes, artifact)) == b"report" * 1_000
    assert kept.stat().st_mode & 0o777 == 0o600
    # A spoke that missed the answer seals and sends it anew.
    assert client.put(where, data=sealed + b"x", headers=header).status_code == 200
    (replaced,) = kept.parent.iterdir()
    assert replaced.read_bytes() == sealed + b"x"
    assert GatewayInbox.select().count() == 1


def test_an_artifact_needs_a_run(client, hub, spoke):
    capability = capability_for(hub.engine, spoke.id, [], later(hub))
    where = f"/gateway/v1/artifacts/{new_id()}"
    assert client.put(where, data=b"x", headers={"Manyarm-Capability": capability}).status_code == 403
    assert client.put(where, data=b"x").json["code"] == "JOIN_PENDING"
    assert not (hub.home / "artifacts" / "incoming").exists()


def test_every_answer_is_hardened_and_without_a_trace(client):
    for path in ("/", "/gateway/v1/nothing", "/gateway/v1/box", "/install"):
        answer = client.get(path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert b"Traceback" not in answer.data


def test_the_wheel_is_served_and_the_command_beside_the_join_code_names_its_hash(client, hub):
    assert client.get("/wheel/manyarm-0.1.0-py3-none-any.whl").status_code == 404
    wheels = hub.home / "wheels"
    wheels.mkdir()
    (wheels / "manyarm-0.1.0-py3-none-any.whl").write_bytes(b"a wheel")
    offered = wheel_on_offer(wheels)
    assert offered is not None
    assert client.get(f"/wheel/{offered.name}").data == b"a wheel"
    assert client.get("/wheel/..%2f..%2fmanyarm.db").status_code == 404
    command = install_command("hub.example:8443", offered)
    assert hashlib.sha256(b"a wheel").hexdigest() in command
    assert hashlib.sha256(client.get("/install").data).hexdigest() in command


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--hub", "x:1; rm -rf /", "--wheel", "a.whl", "--sha256", "0" * 64],
        ["--hub", "x:1", "--wheel", "../a.whl", "--sha256", "0" * 64],
        ["--hub", "x:1", "--wheel", "a.whl", "--sha256", "0" * 63],
        ["--hub", "x:1", "--wheel", "a.whl", "--sha256", "Z" * 64],
        ["--what"],
    ],
    ids=str,
)
def test_the_install_script_refuses_arguments_that_are_none(client, tmp_path, arguments):
    script = tmp_path / "install.sh"
    script.write_bytes(client.get("/install").data)
    ran = subprocess.run(["sh", str(script), *arguments], capture_output=True, text=True, timeout=30)
    assert ran.returncode == 2
    assert "manyarm-install:" in ran.stderr
