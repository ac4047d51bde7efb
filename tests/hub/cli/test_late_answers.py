"""A hub that is busy answers 202 and a link: a command waits for the answer itself, and says what it was."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hub.cli.client.access import Access
from hub.cli.client.hub_api import HubApi
from hub.cli.ending import CommandFailed, Status


@pytest.fixture
def busy():
    """A hub that has taken a request and comes to it at the third look; `answers[0]` is what it says then."""
    answers, looks = [], []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self):
            self.said(202, {"intent": "i1", "state": "waiting", "link": LINK})

        def do_GET(self):
            looks.append(self.path)
            waiting = {"intent": "i1", "state": "waiting", "status": None, "answer": None}
            self.said(200, answers[0] if len(looks) > 2 else waiting)

        def said(self, status, body):
            content = json.dumps(body).encode()
            self.send_response(status)
            if status == 202:
                self.send_header("Location", LINK)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Nothing of it is printed."""

    server = HTTPServer(("127.0.0.1", 0), Busy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield HubApi(Access(f"http://127.0.0.1:{server.server_port}", "mak_x")), answers, looks
    server.shutdown()
    thread.join()
    server.server_close()


LINK = "/api/v1/intents/i1"


def done(status, answer):
    return {"intent": "i1", "state": "done", "status": status, "answer": answer}


def test_a_late_answer_is_the_answer_and_not_the_word_that_it_waits(busy):
    hub, answers, looks = busy
    answers.append(done(201, {"id": "r1", "version": "1.0.0"}))
    assert hub.post("/releases", {"project": "Shop"}) == {"id": "r1", "version": "1.0.0"}
    assert looks == [LINK] * 3


def test_a_late_refusal_is_a_refusal(busy):
    hub, answers, _ = busy
    answers.append(done(409, {"code": "CONFLICT", "detail": "there is one already", "field": "version"}))
    with pytest.raises(CommandFailed, match=r"there is one already \(field version\)") as caught:
        hub.post("/releases", {"project": "Shop"})
    assert caught.value.exit_code == Status.USAGE
