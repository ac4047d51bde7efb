"""The page of the queue: who paused it and why each waits; to pause, to resume, to let one go before the others."""

from hub.storage.database import connection
from hub.storage.models import Task


def test_the_queue_is_paused_read_put_in_order_and_resumed(portal, ann):
    done = ann.submit("/queue/pause", page="/queue", environment="Development", reason="an audit")
    assert done.headers["Location"] == "/queue"
    page = ann.get("/queue").text
    assert "Environment Development is paused. What runs goes on" in page
    assert "Paused by ann" in page
    task = portal.deploy()
    page = ann.get("/queue").text
    assert task in page
    assert "Environment Development is paused by ann since" in page
    ann.submit(f"/queue/{task}/priority", page="/queue", priority="high")
    assert "Its priority is high now." in ann.get("/queue").text
    with connection():
        assert Task.get_by_id(task).priority == 2
    refused = ann.submit("/queue/pause", page="/queue", environment="Development")
    assert refused.headers["Location"] == "/queue"
    assert "is paused already" in ann.get("/queue").text
    ann.submit("/queue/resume", page="/queue", environment="Development")
    page = ann.get("/queue").text
    assert "Environment Development goes on." in page
    assert "Paused by" not in page


def test_whoever_may_only_look_sees_the_queue_and_no_button(portal):
    vic = portal.signed_in("viktor", "viewer")
    page = vic.get("/queue").text
    assert "Queue" in page
    assert "/queue/pause" not in page
    assert "<select" not in page
