"""Adding targets of every kind from the pages, and comparing a host key before anything runs."""

import base64
import struct

import pytest

from hub.access import caller
from hub.infrastructure.ssh_input import fingerprint_of
from hub.states import SpokeKind, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Job, OutputVariable, Session, Spoke, Target, Task, now_ms
from tests.fakes.portal_hub import PASSWORD


def host_key(filler):
    blob = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + filler * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


@pytest.fixture(scope="module")
def ssh_spoke(portal):
    portal.api.add_target("hub-ssh")
    with connection(), write_tx():
        spoke = Spoke.get(Spoke.name == "hub-ssh")
        spoke.kind = SpokeKind.SSH
        spoke.version += 1
        portal.api.installed.seals.seal(spoke)
        spoke.save()
    return spoke


def come_back(task, *, key="", failure=""):
    """The scan's end, as the engine would write it."""
    with connection(), write_tx():
        job = Job.get(Job.task == task)
        if key:
            place = {"task": task, "job": job.id, "step": "Scan", "target": job.target_name}
            OutputVariable.create(**place, name="host_key", value=key)
        state = TaskState.SUCCEEDED if key else TaskState.FAILED
        Task.update(state=state, failure=failure, ended_at=now_ms()).where(Task.id == task).execute()


def add_ssh(ann, name, **fields):
    typed = {"name": name, "host": f"{name}.example.com", "account": "deploy-login", **fields}
    page = ann.get("/targets/add/ssh")
    assert "deploy-login" in page.text
    return ann.post("/targets/add/ssh", **({"csrf_token": ann.token()} | typed))


def test_the_way_through_names_every_kind_and_what_is_wrong_when_nothing_arrives(ann):
    page = ann.get("/targets/add").text
    for words in ("manyarm-spoke enrol CODE", "Add an SSH machine", "Introduce a listening", "Add a cloud target"):
        assert words in page
    for words in ("port is closed", "Thumbprints differ", "A clock is off", "Host key changed"):
        assert words in page


def test_an_ssh_machine_is_looked_at_and_its_key_compared_before_anything_runs(portal, ann, ssh_spoke):
    sent = add_ssh(ann, "web-9", port="2222", roles="web, db", environment="Production")
    assert sent.status_code == 303, sent.text
    where = sent.headers["Location"]
    assert where.startswith("/targets/web-9/host-key?scan=")
    assert "The ssh spoke looks at web-9.example.com:2222" in ann.get(where).text
    come_back(where.partition("scan=")[2], key=host_key(b"k"))
    page = ann.get(where).text
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in page
    assert fingerprint_of(host_key(b"k")) in page
    assert "nothing runs there" in page
    with connection(), write_tx():
        Session.update(reauthenticated_at=now_ms() - caller.STEP_UP_MS - 1).execute()
    asked = ann.submit("/targets/web-9/confirm-host-key", page="/targets/web-9/host-key")
    assert asked.headers["Location"].startswith("/prove?next=")
    with connection():
        assert Target.get(Target.name == "web-9").endpoint["host_key"] == ""
    ann.submit("/prove", page=asked.headers["Location"], password=PASSWORD)
    done = ann.submit("/targets/web-9/confirm-host-key", page="/targets/web-9/host-key")
    assert done.headers["Location"] == "/targets/web-9"
    with connection():
        assert Target.get(Target.name == "web-9").endpoint["host_key"] == host_key(b"k")
    page = ann.get("/targets").text
    assert "web-9.example.com:2222 · deploy-login" in page
    assert fingerprint_of(host_key(b"k")) in ann.get("/targets/web-9").text


def test_a_scan_that_found_nothing_says_why(ann, ssh_spoke):
    where = add_ssh(ann, "web-8").headers["Location"]
    come_back(where.partition("scan=")[2], failure="web-8.example.com:22: connection refused")
    page = ann.get(where).text
    assert "No key was found: Web-8.example.com:22: connection refused." in page
    assert "pin it" not in page


def test_a_fingerprint_that_the_scan_did_not_find_pins_nothing(ann, ssh_spoke):
    where = add_ssh(ann, "web-7").headers["Location"]
    come_back(where.partition("scan=")[2], key=host_key(b"a"))
    other = fingerprint_of(host_key(b"b"))
    ann.submit("/targets/web-7/confirm-host-key", page=where, fingerprint=other)
    assert "do not trust it" in ann.get("/targets/web-7/host-key").text
    with connection():
        assert Target.get(Target.name == "web-7").endpoint["host_key"] == ""


def test_what_was_typed_stays_in_a_form_that_is_refused(ann, ssh_spoke):
    refused = add_ssh(ann, "web-6", host="a b;id", user="ops", roles="web")
    assert refused.status_code == 400
    assert "Expected a host name or an IP address." in refused.text
    assert 'value="a b;id"' in refused.text
    assert 'value="ops"' in refused.text


def test_a_cloud_target_and_a_listening_machine_are_added(portal, ann):
    account = {"kind": "generic", "fields": {"REGION_HINT": "eu"}, "secrets": {"TOKEN": "canary-cl0ud"}}
    portal.api.post("/accounts", {"name": "shop-cloud", **account})
    token = ann.token()
    pairs = {"property": ["bucket", ""], "value": ["www", ""]}
    fields = {"csrf_token": token, "name": "shop", "account": "shop-cloud", "region": "eu-west-1", **pairs}
    assert ann.post("/targets/add/cloud", **fields).status_code == 303
    page = ann.get("/targets/shop").text
    assert "shop-cloud · eu-west-1" in page
    assert "www" in page
    assert "canary-cl0ud" not in page
    thumbprint = portal.api.get("/spokes").json["items"][0]["thumbprint"]
    fields = {"csrf_token": token, "name": "ear", "address": "ear.example.com:8444", "thumbprint": thumbprint}
    assert ann.post("/targets/add/listening", **fields).status_code == 303
    assert "ear.example.com:8444" in ann.get("/targets/ear").text
    wrong = ann.post("/targets/add/listening", **{**fields, "name": "ear-2", "thumbprint": thumbprint[:-1] + "?"})
    assert wrong.status_code == 400


def test_who_may_not_edit_targets_finds_no_way_to_add_one(portal):
    vic = portal.signed_in("victor", "viewer")
    assert "Add a target" not in vic.get("/targets").text
    for path in ("/targets/add", "/targets/add/ssh"):
        assert vic.get(path).status_code == 403
    page = vic.get("/targets/build-1/host-key")
    assert page.status_code == 200
    assert '<form method="post" action="/targets' not in page.text
