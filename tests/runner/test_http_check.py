"""http-check: asks until the answer is as expected, says why it is not, and never waits past its end."""

import json
import socket
import ssl
import time
import tomllib
from pathlib import Path

import pytest

from tests.fakes.http_server import fake_server, response

CASES = tomllib.loads((Path(__file__).parent / "cases/http_check.toml").read_text())["case"]
QUICK = {"within_s": 1, "attempts": 1, "timeout_s": 5}


@pytest.fixture
def rig(rig_in_turn):
    return rig_in_turn


def answer_of(case):
    if "raw" in case:
        return case["raw"].encode() + case.get("repeat_raw", "").encode() * case.get("repeat", 0)
    body = bytes(case["raw_body"]) if "raw_body" in case else case.get("body", "").encode() * case.get("repeat", 1)
    return response(body, case.get("status", "200 OK"), **case.get("headers", {}))


def check(rig, url, properties=None, secrets=None, **more):
    return rig.run(rig.job("http-check", {"url": url, **QUICK, **(properties or {})}, **more), secrets)


def judged(rig, case):
    with fake_server(answer_of(case)) as server:
        run = check(rig, server.url, case.get("properties"), variables={"Word": "up"})
    expected = "succeeded" if case["says"].startswith(("answers", "HEAD")) else "failed"
    assert run.outcome["state"] == expected, run.text()
    assert case["says"] in (run.text() if expected == "succeeded" else run.outcome["message"]), run.text()
    assert case.get("log", "") in run.text()


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_an_answer_is_judged_as_the_table_says(rig, case):
    judged(rig, case)


def test_the_runner_judges_alike_under_every_python(any_rig):
    for case in CASES:
        if case["name"] in {
            "values of a JSON body",
            "a body in chunks",
            "a body whose chunks break off",
            "no HTTP at all",
        }:
            judged(any_rig, case)


def test_it_asks_again_until_the_answer_is_as_expected_and_says_why_each_was_not(rig):
    answers = [response("starting", "503 Busy"), b"", response("state: warming"), response("state: up")]
    with fake_server(lambda connection, _: connection.sendall(answers[min(len(server.asked), 4) - 1])) as server:
        run = check(rig, server.url, {"within_s": 30, "attempts": 0, "pause_s": 1, "expect_text": "up"})
    assert run.outcome["state"] == "succeeded", run.text()
    assert "attempt 1: status 503 Busy, expected 200-299; asking again in 1 s" in run.text()
    assert "attempt 2: 127.0.0.1:" in run.text()
    assert "attempt 3: the body does not hold 'up'; asking again" in run.text()
    assert "answers as expected (attempt 4)" in run.text()


def test_it_gives_up_after_so_many_attempts_and_nobody_listens(rig):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    run = check(rig, f"http://127.0.0.1:{port}/health", {"within_s": 60, "attempts": 2, "pause_s": 1})
    message = run.outcome["message"]
    assert message.startswith(f"GET http://127.0.0.1:{port}/health did not answer as expected in 2 attempts within ")
    assert message.endswith(f"no connection to 127.0.0.1:{port}: Connection refused")


def test_it_gives_up_when_its_time_is_over(rig):
    began = time.monotonic()
    run = check(rig, "http://127.0.0.1:1/", {"within_s": 3, "attempts": 0, "pause_s": 1})
    assert "did not answer as expected in" in run.outcome["message"]
    assert "attempt 2: no connection" in run.text()
    assert time.monotonic() - began < 30


def test_what_is_sent_is_what_was_asked_for_and_secrets_are_masked(rig):
    with fake_server(lambda connection, head: connection.sendall(response(b"told: " + head, "500 No"))) as server:
        run = check(
            rig,
            server.url + "a%20b/ü?q=#{Query}",
            {
                "method": "POST",
                "headers": ["X-Key: #{ApiKey}", "Accept: application/json"],
                "body": '{"who": "#{Query}"}',
                "user": "health",
                "password": "#{Password}",
            },
            variables={"Query": "wörld"},
            secrets={"ApiKey": "k3y-of-the-app", "Password": "pässw0rd:x"},
        )
    (asked,) = server.asked
    head, _, body = asked.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /a%20b/%C3%BC?q=w%C3%B6rld HTTP/1.1"
    assert {"X-Key: k3y-of-the-app", "Accept: application/json", f"Host: 127.0.0.1:{server.port}"} <= set(lines)
    assert "Authorization: Basic aGVhbHRoOnDDpHNzdzByZDp4" in lines
    assert body == '{"who": "wörld"}'.encode()
    assert "told: POST" in run.text()
    assert "X-Key: ***" in run.text()
    for shown in ("k3y-of-the-app", "pässw0rd", "w6RzczB", "DDpHNzdzByZDp4"):
        assert shown not in run.text() + run.outcome["message"]


def test_a_token_is_sent_as_a_bearer(rig):
    with fake_server(response()) as server:
        assert check(rig, server.url, {"token": "#{T}"}, {"T": "t0ken-value"}).outcome["state"] == "succeeded"
    assert b"Authorization: Bearer t0ken-value\r\n" in server.asked[0]


def test_no_proxy_of_the_environment_is_used(rig):
    rig.environment.update(
        http_proxy="http://127.0.0.1:1/", HTTP_PROXY="http://127.0.0.1:1/", ALL_PROXY="http://127.0.0.1:1/"
    )
    with fake_server(response()) as server:
        assert check(rig, server.url).outcome["state"] == "succeeded"


def test_a_unix_socket_is_asked(rig, tmp_path):
    with fake_server(response("up"), path=tmp_path / "app.sock") as server:
        run = check(rig, "http://app/health", {"socket": str(tmp_path / "app.sock"), "expect_text": "up"})
        assert run.outcome["state"] == "succeeded", run.text()
        assert b"GET /health HTTP/1.1\r\nHost: app\r\n" in server.asked[0]
        run = check(rig, "http://app/health", {"socket": str(tmp_path / "none.sock")})
        assert "none.sock: No such file or directory" in run.outcome["message"]
        assert "absolute path" in check(rig, "http://app/", {"socket": "app.sock"}).outcome["message"]


def test_a_secret_in_a_body_is_masked_though_the_body_is_shortened(rig):
    secret = "s3cret-" + "0123456789abcdef" * 8
    for before in (990, 3990, 4090):
        with fake_server(response("x" * before + secret + "y" * 5000, "500 No")) as server:
            run = check(rig, server.url, secrets={"Key": secret})
        assert "x" * 500 in run.text()
        assert "s3cret" not in run.text()


def test_control_characters_of_a_server_do_not_reach_the_log(rig):
    with fake_server(response("a\x1b[2Jb\u202ec", "500 Bad\x1b[31m")) as server:
        run = check(rig, server.url)
    assert "\x1b" not in run.text() + run.outcome["message"]
    assert "\u202e" not in run.text()


def test_redirects_are_followed_only_on_request_and_keep_what_was_given_at_home(rig):
    with fake_server(response("there", Content_Type="text/plain")) as other:

        def serve(connection, head):
            path = head.split()[1].decode()
            goal = {"/": "/here", "/here": f"http://127.0.0.1:{other.port}/there"}[path]
            connection.sendall(response(b"", "302 Found", Location=goal))

        with fake_server(serve) as server:
            properties = {
                "follow_redirects": True,
                "expect_text": "there",
                "headers": ["X-Key: k3y-value"],
                "token": "t0ken-value",
            }
            run = check(rig, server.url, properties)
            assert run.outcome["state"] == "succeeded", run.text()
            assert [b"X-Key" in asked for asked in server.asked] == [True, True]
            assert b"X-Key" not in other.asked[0]
            assert b"Authorization" not in other.asked[0]
            assert "status 302" in check(rig, server.url).outcome["message"]


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        ("{self}", "more than 5 redirects"),
        ("ftp://example.org/", "a redirect leads to no URL"),
        ("http://[::1/", "a redirect leads to no URL"),
        ("http://127.0.0.1:1/", "no connection to 127.0.0.1:1"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_told(rig, goal, says):
    with fake_server(
        lambda c, _: c.sendall(response(b"", "302 Found", Location=goal.format(self=server.url)))
    ) as server:
        assert says in check(rig, server.url, {"follow_redirects": True}).outcome["message"]


def test_a_post_is_not_carried_to_another_place(rig):
    with fake_server(lambda c, _: c.sendall(response(b"", "307 Go", Location="http://localhost:1/"))) as server:
        run = check(rig, server.url, {"follow_redirects": True, "method": "POST", "body": "secret"})
    assert "a redirect to another place is not followed here" in run.outcome["message"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, and a context that serves it."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "health")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.KeyUsage(True, False, False, False, False, True, False, False, False), critical=True)
        .sign(key, SHA256())
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


def test_a_certificate_is_looked_at_unless_that_is_switched_off(any_rig, certificate):
    path, context = certificate
    with fake_server(response("up"), context) as server:
        run = check(any_rig, server.url)
        assert "is not trusted: self-signed certificate" in run.outcome["message"].replace("self signed", "self-signed")
        run = check(any_rig, server.url, {"ca_file": str(path), "expect_text": "up"})
        assert run.outcome["state"] == "succeeded", run.text()
        run = check(any_rig, server.url.replace("127.0.0.1", "localhost"), {"ca_file": str(path)})
        assert "is not trusted: Hostname mismatch" in run.outcome["message"]
        run = check(any_rig, server.url, {"insecure": True})
        assert run.outcome["state"] == "succeeded"
        assert "whoever answers is believed" in run.text()


def test_certificates_that_cannot_be_read_fail_at_once(rig, certificate, tmp_path):
    (tmp_path / "empty.pem").write_text("no certificate")
    with fake_server(response(), certificate[1]) as server:
        for name in ("none.pem", "empty.pem"):
            run = check(rig, server.url, {"ca_file": str(tmp_path / name), "attempts": 0, "within_s": 60})
            assert "the certificates of ca_file cannot be read" in run.outcome["message"]


def test_a_switch_checks_and_a_preview_asks_nobody(rig):
    with fake_server(response()) as server:
        assert check(rig, server.url, mode="switch").outcome["state"] == "succeeded"
        assert len(server.asked) == 1
        run = check(rig, server.url, mode="preview")
        assert f"would ask GET {server.url}" in run.text()
        assert len(server.asked) == 1
        assert check(rig, "http://#{Nowhere}/", mode="preview").outcome["state"] == "failed"
        run = check(rig, "http://x:#{Manyarm.Step[Start].Output.Port}/", mode="preview")
        assert "known only in a deployment" in run.text()


def endless(connection, _head):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def dripping_head(connection, _head):
    for letter in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000:
        connection.sendall(bytes([letter]))
        time.sleep(0.2)


def dripping_body(connection, _head):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.2)


def dripping_chunks(connection, _head):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\nx\r\n")
        time.sleep(0.2)


def continuing(connection, _head):
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def silent(connection, _head):
    connection.recv(1)


def a_gigabyte(connection, _head):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _ in range(16384):
        connection.sendall(b"x" * 65536)


HOSTILE = [
    (endless, "its first 1048576 bytes were looked at"),
    (a_gigabyte, "its first 1048576 bytes were looked at"),
    (dripping_head, "in time"),
    (dripping_body, "the body did not end in time"),
    (dripping_chunks, "the body did not end in time"),
    (continuing, "in time"),
    (silent, "in time"),
]


@pytest.mark.parametrize(("serve", "says"), HOSTILE, ids=lambda item: getattr(item, "__name__", ""))
def test_a_hostile_server_neither_holds_the_step_nor_fills_its_memory(rig, serve, says):
    began = time.monotonic()
    with fake_server(serve) as server:
        run = check(rig, server.url, {"timeout_s": 2, "expect_text": "up"}, variables={})
    assert says in run.outcome["message"], run.text()
    # Ten times what it may take: a hang, not a slow machine, fails this.
    assert time.monotonic() - began < 20


def test_a_tls_handshake_that_never_ends_is_left(rig):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        run = check(rig, f"https://127.0.0.1:{listener.getsockname()[1]}/", {"timeout_s": 1, "within_s": 2})
    assert "did not finish the TLS handshake in time" in run.outcome["message"]


def test_a_pattern_that_would_take_for_ever_does_not(rig):
    with fake_server(response("a" * 500_000 + "b")) as server:
        began = time.monotonic()
        run = check(rig, server.url, {"expect_pattern": "(a+)+$", "timeout_s": 2})
    assert run.outcome["state"] == "failed"
    assert time.monotonic() - began < 20


def test_a_cancel_ends_the_wait_between_attempts(rig):
    job = rig.job("http-check", {"url": "http://127.0.0.1:1/", "within_s": 3600, "pause_s": 3600})
    run = rig.start({**job, "properties": {**job["properties"], "within_s": 86400}})
    run.until("attempt 1")
    (run.folder / "cancel").write_text(json.dumps({"reason": "enough"}))
    assert run.wait()["state"] == "cancelled"
