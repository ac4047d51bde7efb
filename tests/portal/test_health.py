"""What the target's page says of its health and of its machine policy."""

from hub.infrastructure.machine_policies import PolicyRequest, create_policy, give_policy
from hub.infrastructure.targets import set_health
from hub.states import Health, Unavailable
from hub.storage.database import connection, write_tx
from hub.storage.models import Target, now_ms


def test_the_page_says_how_it_is_why_and_what_deployments_do_meanwhile(portal, ann):
    portal.api.add_target("sick-1")
    with connection(), write_tx():
        row = Target.get(Target.name == "sick-1")
        set_health(row, Health.UNAVAILABLE, "no heartbeat since 12:00:00 UTC", now_ms())
        wanted = PolicyRequest("patient", unavailable=Unavailable.SKIP, catch_up=True, script="df /", interval_s=600)
        give_policy(row, create_policy(portal.api.installed.acting(), wanted), now_ms())
    page = ann.get("/targets/sick-1").text
    for words in ("unavailable", "no heartbeat since 12:00:00 UTC", "patient"):
        assert words in page
    assert "deployments leave it out, and it catches up when it is back" in page
    assert "looked at every 600 s with a script" in page


def test_a_disabled_target_is_shown_so_with_its_reason(portal, ann):
    portal.api.add_target("off-1")
    portal.api.post("/targets/off-1/disable", {"reason": "being repaired"})
    for path in ("/targets/off-1", "/targets"):
        page = ann.get(path).text
        assert "disabled" in page
        assert "being repaired" in page
