"""The page of the hub's own keys: administrators see and rotate them, after their password."""

from hub.storage.database import connection, write_tx
from hub.storage.hub_keys import box_keys
from hub.storage.models import Session, now_ms


def test_an_administrator_sees_the_keys_and_rotates_one(portal, ann):
    page = ann.get("/keys").text
    assert "hub-command" in page
    assert "SHA256:" in page
    with connection():
        (before,) = box_keys(portal.api.installed.engine)
    done = ann.submit("/keys/rotate", page="/keys", key="box", reason="a try")
    assert done.headers["Location"] == "/keys"
    with connection():
        assert box_keys(portal.api.installed.engine)[0].kid != before.kid
    assert "The new key is in use." in ann.get("/keys").text


def test_the_password_is_asked_for_again_first(portal, ann):
    with connection(), write_tx():
        Session.update(reauthenticated_at=now_ms() - 3600 * 1000).execute()
    asked = ann.submit("/keys/rotate", page="/keys", key="box")
    assert asked.headers["Location"].startswith("/prove")


def test_whoever_may_not_edit_keys_does_not_see_them(portal):
    vic = portal.signed_in("vic", "project-admin")
    assert vic.get("/keys").status_code == 403
    assert "/keys" not in vic.get("/").text
