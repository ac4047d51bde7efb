"""Accounts and targets that people add, over the API: what goes in, what is shown, who may, and what is refused."""

import base64
import struct

import pytest

from hub.infrastructure import accounts
from hub.infrastructure.ssh_input import fingerprint_of
from hub.states import TargetKind, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Account, Job, OutputVariable, Spoke, Target, Task
from tests.fakes.api_hub import running_api

PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def public_key(filler=b"k"):
    blob = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + filler * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running_api(tmp_path_factory.mktemp("hub")) as running:
        for environment in ("Test", "Production"):
            running.post("/environments", {"name": environment})
        running.add_runner()
        yield running


def account(api, name, **more):
    body = {"kind": "ssh-key", "fields": {"user": "deploy"}, "secrets": {"private_key": PRIVATE}}
    made = api.post("/accounts", {"name": name, **body, **more})
    assert made.status_code == 201, made.text
    return made.json


def ssh(api, name, **more):
    body = {"kind": "ssh", "name": name, "host": "web-1.example.com", "account": "keys", "environments": ["Test"]}
    return api.post("/targets", {**body, **more})


@pytest.fixture(scope="module", autouse=True)
def keys(api):
    return account(api, "keys")


def test_a_secret_goes_in_and_never_comes_out(api):
    made = account(api, "in-and-out", secrets={"private_key": PRIVATE, "passphrase": "open sesame"})
    assert made["secrets"] == ["passphrase", "private_key"]
    everything = api.get("/accounts").text + api.get("/accounts/in-and-out").text + api.get("/events?limit=1000").text
    assert "sesame" not in everything
    assert "b3BlbnNzaC1rZXktdjE" not in everything
    with connection():
        row = Account.get(Account.name == "in-and-out")
        assert "sesame" not in str(row.secrets_sealed)
        assert accounts.open_secret(api.installed.engine, row, "passphrase") == "open sesame"


def test_a_secret_that_is_null_stays_and_one_that_is_not_named_goes(api):
    made = account(api, "kept", secrets={"private_key": PRIVATE, "passphrase": "open sesame"})
    body = {"name": "kept", "kind": "ssh-key", "fields": {"user": "ops"}, "secrets": {"private_key": None}}
    changed = api.put("/accounts/kept", body, version=made["version"])
    assert changed.status_code == 200, changed.text
    assert (changed.json["fields"], changed.json["secrets"]) == ({"user": "ops"}, ["private_key"])
    with connection():
        row = Account.get(Account.name == "kept")
        assert accounts.open_secret(api.installed.engine, row, "private_key") == PRIVATE
    assert api.put("/accounts/kept", body, version=made["version"]).status_code == 412


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "ssh-key", "fields": {"user": "a"}, "secrets": {"private_key": "no key"}}, "secrets.private_key"),
        ({"kind": "ssh-key", "fields": {"user": "-o a"}, "secrets": {"private_key": PRIVATE}}, "fields.user"),
        ({"kind": "password", "fields": {"user": "a"}}, "secrets.password"),
        ({"kind": "password", "fields": {"user": "a"}, "secrets": {"password": "abc"}}, "secrets.password"),
        ({"kind": "password", "fields": {"user": "a"}, "secrets": {"password": None}}, "secrets.password"),
        ({"kind": "aws", "fields": {"access_key": "A"}, "secrets": {"secret_access_key": "long enough"}}, "fields"),
        ({"kind": "generic", "fields": {"A B": "x"}}, "fields"),
        ({"kind": "generic", "fields": {"A": "x"}, "secrets": {"A": "long enough"}}, "secrets.A"),
        ({"kind": "generic", "environments": ["Nowhere"]}, "environments.0"),
    ],
)
def test_an_account_that_is_none_is_refused_with_its_field(api, body, field):
    refused = api.post("/accounts", {"name": "wrong", **body})
    assert refused.status_code in {400, 404}, refused.text
    assert refused.json["field"].startswith(field)


def test_who_may_not_edit_accounts_neither_makes_nor_sees_one(api):
    key = api.as_user("dora", "deployer", "project-admin")
    assert api.get("/accounts", key=key).status_code == 403
    assert api.post("/accounts", {"name": "x", "kind": "generic"}, key=key).status_code == 403


def test_an_account_in_use_stays(api):
    account(api, "in-use")
    assert ssh(api, "uses", account="in-use").status_code == 201
    refused = api.delete("/accounts/in-use", headers={"If-Match": "*"})
    assert refused.status_code == 409
    assert "uses" in refused.json["detail"]


def test_an_ssh_target_shows_where_it_is_and_by_whom_but_no_secret(api):
    made = ssh(api, "web-1", port=2222, roles=["web"], host_key=f"{public_key()} root@web-1")
    assert made.status_code == 201, made.text
    seen = api.get("/targets/web-1").json
    assert (seen["kind"], seen["roles"], seen["environments"]) == ("ssh", ["web"], ["Test"])
    expected = {
        "host": "web-1.example.com",
        "port": 2222,
        "account": "keys",
        "fingerprint": fingerprint_of(public_key()),
    }
    assert expected.items() <= seen["endpoint"].items()
    assert [found["name"] for found in api.get("/targets?kind=ssh&q=web-1").json["items"]] == ["web-1"]


def test_without_a_confirmed_key_nothing_runs_there(api):
    serve(api, "ssh", "keyless")
    refused = api.post("/runs", {"script": "true", "targets": ["keyless"]})
    assert refused.status_code == 409, refused.text
    assert "host key of target 'keyless' is not confirmed" in refused.json["detail"]


def serve(api, kind, name):
    """An ssh target that a trusted spoke serves."""
    assert ssh(api, name).status_code == 201
    with connection(), write_tx():
        row, spoke = Target.get(Target.name == name), Spoke.get_or_none(Spoke.kind == kind)
        if spoke is None:
            api.add_target("beside-the-hub")
            spoke = Spoke.get(Spoke.name == "beside-the-hub")
            spoke.kind = kind
            spoke.version += 1
            api.installed.seals.seal(spoke)
            spoke.save()
        row.spoke = spoke.id
        row.version += 1
        api.installed.seals.seal(row)
        row.save()
    return row


def scanned(api, name, key):
    """A scan whose result has come in."""
    asked = api.post(f"/targets/{name}/scan-host-key")
    assert asked.status_code == 201, asked.text
    task = asked.json["task"]
    with connection(), write_tx():
        job = Job.get_or_none(Job.task == task) or Job.create(
            task=task, step_index=0, step="Scan", target=Target.get(Target.name == name).id, target_name=name
        )
        OutputVariable.create(task=task, job=job.id, step="Scan", target=name, name="host_key", value=key)
        Task.update(state=TaskState.SUCCEEDED, ended_at=1).where(Task.id == task).execute()
    return task


def test_a_scanned_key_is_shown_and_believed_only_when_somebody_confirms_it(api):
    serve(api, "ssh", "scanned")
    task = scanned(api, "scanned", public_key(b"s"))
    seen = api.get("/targets/scanned/host-key").json
    assert (seen["confirmed"], seen["scanned"], seen["scan_task"]) == (None, public_key(b"s"), task)
    assert seen["scanned_fingerprint"] == fingerprint_of(public_key(b"s"))
    assert api.get("/targets/scanned").json["endpoint"]["fingerprint"] is None
    wrong = api.post("/targets/scanned/confirm-host-key", {"fingerprint": fingerprint_of(public_key(b"x"))})
    assert wrong.status_code == 409
    assert "do not trust it" in wrong.json["detail"]
    right = api.post("/targets/scanned/confirm-host-key", {"fingerprint": seen["scanned_fingerprint"]})
    assert right.status_code == 200, right.text
    assert right.json["endpoint"]["fingerprint"] == seen["scanned_fingerprint"]
    assert api.post("/runs", {"script": "true", "targets": ["scanned"]}).status_code == 201


def test_another_host_makes_the_key_unknown_again(api):
    ssh(api, "moved", host_key=public_key())
    stays = api.post("/targets/moved/endpoint", {"user": "ops"})
    assert stays.json["endpoint"]["fingerprint"] is not None
    moved = api.post("/targets/moved/endpoint", {"host": "elsewhere.example.com"})
    assert moved.status_code == 200, moved.text
    assert (moved.json["endpoint"]["fingerprint"], moved.json["endpoint"]["user"]) == (None, "ops")


def test_a_cloud_target_has_an_account_a_region_and_what_one_likes(api):
    account(api, "shop-aws", kind="aws", fields={"access_key_id": "AKIA"}, secrets={"secret_access_key": "sesame-open"})
    wanted = {"kind": "cloud", "name": "shop", "account": "shop-aws", "region": "eu-west-1", "properties": {"b": "www"}}
    made = api.post("/targets", wanted)
    assert made.status_code == 201, made.text
    endpoint = made.json["endpoint"]
    assert (endpoint["region"], endpoint["properties"], endpoint["account"]) == ("eu-west-1", {"b": "www"}, "shop-aws")
    wrong = api.post("/targets", {**wanted, "name": "shop-2", "account": "keys"})
    assert (wrong.status_code, wrong.json["field"]) == (400, "account")
    assert "of the kind ssh-key" in wrong.json["detail"]


def test_a_listening_target_is_introduced_by_address_and_thumbprint(api):
    with connection():
        thumbprint = api.get("/spokes").json["items"][0]["thumbprint"]
    made = api.post(
        "/targets", {"kind": "listening", "name": "ear", "address": "ear.example.com:8444", "thumbprint": thumbprint}
    )
    assert made.status_code == 201, made.text
    assert made.json["endpoint"]["address"] == "ear.example.com:8444"
    for wrong in ({"thumbprint": "SHA256:abc"}, {"address": "a b"}, {"account": "keys"}):
        body = {"kind": "listening", "name": "ear-2", "address": "ear.example.com", "thumbprint": thumbprint, **wrong}
        assert api.post("/targets", body).status_code == 400


def test_who_may_approve_no_spoke_introduces_none(api):
    """It is trusted without another word when it comes."""
    test = api.get("/environments/Test").json["id"]
    key = api.as_user("lisa", ("system-admin", None, test))
    with connection():
        thumbprint = api.get("/spokes").json["items"][0]["thumbprint"]
    body = {"kind": "listening", "name": "hers", "address": "ear.example.com", "thumbprint": thumbprint}
    refused = api.post("/targets", {**body, "environments": ["Test"]}, key=key)
    assert refused.status_code == 403
    assert "spoke.approve" in refused.json["detail"]


def test_fields_of_another_kind_are_refused(api):
    refused = ssh(api, "odd", region="eu")
    assert (refused.status_code, refused.json["field"]) == (400, "region")
    assert api.post("/targets/odd/endpoint", {"host": "x"}).status_code == 404


def test_who_has_one_environment_adds_no_target_elsewhere_and_lends_no_account(api):
    test = api.get("/environments/Test").json["id"]
    key = api.as_user("tess", ("system-admin", None, test))
    body = {"kind": "ssh", "name": "not-hers", "host": "a.example.com", "account": "keys"}
    for environments, missing in ((["Production"], "target.edit"), (["Test"], "account.view")):
        refused = api.post("/targets", {**body, "environments": environments}, key=key)
        assert refused.status_code == 403
        assert missing in refused.json["detail"]


def test_apply_makes_accounts_and_targets_and_shows_no_secret(api):
    documents = [
        {"kind": "Target", "type": "ssh", "name": "applied", "host": "10.1.2.3", "account": "applied-key",
         "host_key": public_key(b"a"), "roles": ["web"], "environments": ["Test"]},
        {"kind": "Account", "type": "password", "name": "applied-key", "fields": {"user": "deploy"},
         "secrets": {"password": "open sesame"}},
    ]  # fmt: skip
    plan = api.post("/apply", {"documents": documents, "plan_only": True})
    assert [found["action"] for found in plan.json["differences"]] == ["create", "create"], plan.text
    assert "sesame" not in plan.text
    assert api.post("/apply", {"documents": documents}).status_code == 200
    again = api.post("/apply", {"documents": documents}).json["differences"]
    assert [found["action"] for found in again] == ["none", "none"]
    documents[1]["secrets"]["password"] = "close sesame"
    documents[0]["port"] = 2222
    changed = api.post("/apply", {"documents": documents})
    assert [found["action"] for found in changed.json["differences"]] == ["update", "update"]
    assert "sesame" not in changed.text
    assert changed.json["differences"][1]["changes"][0]["to"]["password"]["value_version"] == 2
    with connection():
        row = Target.get(Target.name == "applied")
        assert (row.kind, row.endpoint["port"], row.endpoint["host_key"]) == (TargetKind.SSH, 2222, public_key(b"a"))


def test_a_target_document_without_a_type_makes_no_machine(api):
    refused = api.post("/apply", {"documents": [{"kind": "Target", "name": "nowhere", "host": "x"}]})
    assert refused.status_code in {400, 404}
    assert "nowhere" in refused.json["detail"]


def test_a_project_is_exported_with_the_accounts_of_its_steps_for_who_may_see_them(api):
    account(api, "exported", kind="generic", fields={"URL": "https://x"}, secrets={"TOKEN": "sesame-open"})
    step = {"name": "Go", "kind": "cloud-script", "on": "hub", "properties": {"account": "Exported", "script": "true"}}
    applied = api.post("/apply", {"documents": [{"kind": "Project", "name": "Clouds", "process": [step]}]})
    assert applied.status_code == 200, applied.text
    exported = api.get("/projects/clouds/export").json["documents"]
    (found,) = [document for document in exported if document["kind"] == "Account"]
    assert found["secrets"] == {"TOKEN": {"value_from_env": "EXPORTED_TOKEN"}}
    key = api.as_user("dev", ("project-admin", api.get("/projects/clouds").json["id"], None))
    seen = api.get("/projects/clouds/export", key=key).json["documents"]
    assert [document["kind"] for document in seen if document["kind"] in {"Account", "Project"}] == ["Project"]
