"""Keys over the API: seen and rotated by administrators alone; a lost spoke is replaced by one that waits."""

from hub.states import SpokeState
from hub.storage.database import connection, write_tx
from hub.storage.models import Outbox, Spoke
from wire.keys import BoxKey, SigningKey, thumbprint


def test_a_key_is_rotated_and_seen(api):
    before = api.get("/keys").json
    made = api.post("/keys/command/rotate", {"reason": "its yearly turn"})
    assert made.status_code == 200, made.text
    assert made.json["notice"] == ""
    after = api.get("/keys").json
    assert after["trust_version"] == before["trust_version"] + 1 == made.json["trust_version"]
    states = {key["id"]: key["state"] for key in after["keys"] if key["role"] == "hub-command"}
    assert states[made.json["id"]] == "active"
    assert "previous" in states.values()
    assert "private" not in api.get("/keys").text


def test_only_who_may_edit_keys_sees_or_rotates_them(api):
    key = api.as_user("vera", "project-admin")
    assert api.get("/keys", key=key).status_code == 403
    assert api.post("/keys/box/rotate", key=key).status_code == 403
    assert api.post("/keys/other/rotate").status_code == 400


def test_a_spoke_is_asked_to_rotate_and_one_that_is_not_trusted_is_not(api):
    target = api.add_target("rota")
    asked = api.post(f"/spokes/{target.spoke}/rotate")
    assert asked.status_code == 200, asked.text
    with connection():
        assert bytes(Outbox.get(Outbox.spoke == target.spoke).body) == b"rotate_keys"
    waiting = pending(api, "waits")
    assert api.post(f"/spokes/{waiting.id}/rotate").status_code == 409


def test_a_lost_spoke_is_replaced_by_one_whose_thumbprint_was_compared(api):
    target = api.add_target("lost-1", roles=("web",))
    new = pending(api, "lost-1 again")
    shown = thumbprint(bytes.fromhex(new.sign_pk))
    body = {"replaces": target.spoke, "thumbprint": shown}
    wrong = api.post(f"/spokes/{new.id}/replace", {**body, "thumbprint": "SHA256:" + "a" * 52})
    assert wrong.status_code == 409
    done = api.post(f"/spokes/{new.id}/replace", body)
    assert done.status_code == 200, done.text
    assert (done.json["name"], done.json["state"]) == ("lost-1", "trusted")
    seen = api.get("/targets/lost-1").json
    assert (seen["id"], seen["spoke"], seen["roles"]) == (target.id, new.id, ["web"])
    assert api.get(f"/spokes/{target.spoke}").json["state"] == "revoked"
    assert api.post(f"/spokes/{new.id}/replace", body).status_code == 409


def pending(api, name):
    sign, box = SigningKey.generate(), BoxKey.generate()
    row = Spoke(
        name=name,
        state=SpokeState.PENDING,
        sign_pk=sign.verify_key.pk.hex(),
        sign_kid=sign.kid.hex(),
        box_pk=box.public.pk.hex(),
    )
    with connection(), write_tx():
        api.installed.seals.seal(row)
        row.save(force_insert=True)
    return row
