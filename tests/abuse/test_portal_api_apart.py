"""Attacks of "Portal and API" that need a hub of their own: without its engine, or with other limits."""

import threading
import time

from hub.access import users
from hub.api.rate_limit import RateLimit
from hub.storage.database import connection, write_tx
from hub.storage.models import Event, IntentRow, User, now_ms
from tests.fakes.api_hub import running_api


def test_t150_an_intent_under_way_is_judged_by_the_rights_of_its_execution(tmp_path):
    with running_api(tmp_path, engine=False) as api:
        key = api.as_user("quick", "system-admin")
        asked = threading.Thread(target=lambda: api.post("/projects", {"name": "Late"}, key=key))
        asked.start()
        _until(lambda: IntentRow.select().exists())
        with connection(), write_tx():
            users.disable_user(api.installed.seals, User.get_by_id(api.users["quick"].id), now_ms())
        time.sleep(0.3)
        assert api.answering.sweep() == 1
        asked.join()
        with connection():
            row = IntentRow.select().first()
            assert (row.state, row.status) == ("failed", 401)
            assert Event.select().where(Event.action == "project.create", Event.outcome == "refused").exists()
        assert api.get("/projects/late").status_code == 404


def test_t173_a_flood_by_one_key_is_slowed_and_nobody_else(tmp_path):
    now = [0.0]
    limit = RateLimit(per_second=1, burst=20, clock=lambda: now[0])
    with running_api(tmp_path, rate_limit=limit) as api:
        flood = api.as_user("flood", "viewer")
        answers = [api.get("/projects", key=flood).status_code for _ in range(30)]
        assert answers == [200] * 20 + [429] * 10
        slowed = api.get("/projects", key=flood)
        assert slowed.json["code"] == "TOO_MANY"
        assert int(slowed.headers["Retry-After"]) >= 1
        assert api.post("/projects", {"name": "Unaffected"}).status_code == 201
        now[0] += 1
        assert api.get("/projects", key=flood).status_code == 200


def _until(condition, wait_s: float = 10.0) -> None:
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        with connection():
            if condition():
                return
        time.sleep(0.01)
    raise AssertionError("it did not come about")
