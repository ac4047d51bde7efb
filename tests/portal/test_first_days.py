"""Portals that are not as usual: nobody is there yet, or the engine is away. Each is a hub of its own."""

from hub.access.setup_codes import new_setup_code
from hub.api.parts import ApiLimits
from hub.storage.database import connection, write_tx
from hub.storage.models import User, now_ms
from tests.fakes.portal_hub import PASSWORD, running_portal


def test_without_the_engine_a_page_says_that_it_is_away_and_the_request_is_kept(tmp_path):
    with running_portal(tmp_path, limits=ApiLimits(answer_wait_s=0.05), engine=False) as portal:
        ann = portal.signed_in("ann", "system-admin")
        ann.submit("/account/keys", page="/account", name="CI", days="30")
        assert "the engine is away" in ann.get("/account").text


def test_the_first_administrator_comes_in_with_the_setup_code_and_once(tmp_path):
    with running_portal(tmp_path) as portal:
        with connection(), write_tx():
            User.delete().execute()
            code = new_setup_code(portal.api.installed.seals, now_ms())
        visitor = portal.visitor()
        assert visitor.get("/login").headers["Location"] == "/setup"
        fields = {"name": "root", "password": PASSWORD, "again": PASSWORD}
        wrong = visitor.submit("/setup", page="/setup", code="aaaa-bbbb-cccc", **fields)
        assert wrong.status_code == 400
        assert visitor.submit("/setup", page="/setup", code=code, **(fields | {"again": "x"})).status_code == 400
        assert visitor.submit("/setup", page="/setup", code=code, **fields).headers["Location"] == "/login"
        assert visitor.sign_in("root").headers["Location"] == "/"
        assert visitor.get("/").status_code == 200
        again = portal.visitor()
        assert again.submit("/setup", page="/setup", code=code, **(fields | {"name": "second"})).status_code == 400
