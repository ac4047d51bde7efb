"""SSH settings and addresses that want to be something else (T120, T165), at the hub's own door."""

import ipaddress
import socket

import pytest

from hub.errors import Invalid
from hub.infrastructure import ssh_input
from hub.storage.database import connection
from hub.storage.models import Target
from spokes.agent.errors import MachineUnreachable
from spokes.remote.endpoint import Address
from spokes.ssh import scan_host_key
from tests.fakes.api_hub import running_api
from wire.errors import Refused
from wire.inner_addresses import is_inner, is_inner_address

ODD_HOSTS = [
    "-oProxyCommand=id", "-w", "a b", "a;id", "a|id", "a`id`", "$(id)", "a\nb", "a\0b", "a/b", "a\\b", "a@b", "ssh://a",
    "a:22", "[a]", "", ".", "a..b", "-a.example", "a-.example", "a'b", 'a"b', "a,b", "a=b", "a#b", "a%b", "ä.example",
    "a\u202eb", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "a.0x7f", "fe80::1%eth0", "x" * 64, "a." * 130,
]  # fmt: skip
ODD_USERS = [
    "-oProxyCommand=id",
    "-l",
    "a b;id",
    "a b",
    "a;id",
    "",
    "a@-b",
    "a@b c",
    "a/b",
    "a$b",
    "0day",
    "a\nb",
    "a\\b",
    "a'b",
    "x" * 65,
]
ODD_PATHS = [
    "; rm -rf /",
    "/a b",
    "/a;id",
    "-rf",
    "a/b",
    "$HOME",
    "/a$(id)",
    "/a`id`",
    "/a\nb",
    "/-rf",
    "~root/x",
    "/a'b",
]
INNER = [
    "127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST.", "a.localhost", "0.0.0.0", "::", "169.254.169.254",
    "169.254.1.2", "fe80::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1",
    "2002:7f00:1::", "fd00:ec2::254", "100.100.100.200", "metadata.google.internal", "224.0.0.1", "0.1.2.3",
]  # fmt: skip


@pytest.mark.parametrize("host", ODD_HOSTS)
def test_t120_a_host_that_is_none_is_refused(host):
    for allow_inner in (False, True):
        with pytest.raises(Invalid) as refused:
            ssh_input.checked_host(host, allow_inner=allow_inner)
        assert refused.value.code == "SSH_ARG"


@pytest.mark.parametrize("user", ODD_USERS)
def test_t120_a_user_that_is_none_is_refused(user):
    with pytest.raises(Invalid) as refused:
        ssh_input.checked_user(user)
    assert refused.value.code == "SSH_ARG"


@pytest.mark.parametrize("path", ODD_PATHS)
def test_t120_a_path_that_a_shell_would_read_otherwise_is_refused(path):
    with pytest.raises(Invalid) as refused:
        ssh_input.checked_path(path, "home")
    assert refused.value.code == "SSH_ARG"


@pytest.mark.parametrize("host", INNER)
def test_t165_an_address_of_the_hubs_own_machine_or_a_metadata_service_is_refused(host):
    assert is_inner(host)
    with pytest.raises(Invalid, match="MANYARM_ALLOW_INNER_TARGETS"):
        ssh_input.checked_host(host, allow_inner=False)
    assert ssh_input.checked_host(host, allow_inner=True)


@pytest.mark.parametrize("host", ["10.0.0.7", "192.168.1.2", "172.16.0.1", "8.8.8.8", "2001:db8::7", "fd12:3456::1"])
def test_t165_addresses_of_other_machines_are_taken(host):
    assert not is_inner_address(ipaddress.ip_address(host))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::ffff:127.0.0.1"])
def test_t165_the_spoke_that_dials_looks_at_what_a_name_leads_to(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        with pytest.raises(Refused) as refused:
            scan_host_key(Address(host, server.getsockname()[1], allow_inner=False))
        assert refused.value.code == "SSH_ARG"
        with pytest.raises(TimeoutError):
            server.accept()


def test_t165_a_name_that_leads_elsewhere_at_the_second_look_is_looked_up_once(monkeypatch):
    asked = []

    def rebound(host, port, **_):
        asked.append(host)
        place = ("192.0.2.1" if len(asked) == 1 else "127.0.0.1", port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        with pytest.raises(MachineUnreachable):
            scan_host_key(Address("rebinding.example", server.getsockname()[1], allow_inner=False), connect_s=0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    assert asked == ["rebinding.example"]


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running_api(tmp_path_factory.mktemp("hub")) as running:
        running.post(
            "/accounts",
            {"name": "keys", "kind": "password", "fields": {"user": "deploy"}, "secrets": {"password": "open sesame"}},
        )
        yield running


@pytest.mark.parametrize(
    ("field", "value"),
    [("host", "-oProxyCommand=id"), ("user", "a b;id"), ("home", "; rm"), ("python", "-c id"), ("host_key", "-x")],
)
def test_t120_the_api_answers_400_and_names_the_field(api, field, value):
    body = {"kind": "ssh", "name": "odd", "host": "web-1.example.com", "account": "keys", field: value}
    refused = api.post("/targets", body)
    assert (refused.status_code, refused.json["code"], refused.json["field"]) == (400, "SSH_ARG", field)
    applied = api.post("/apply", {"documents": [{**body, "kind": "Target", "type": "ssh"}]})
    assert (applied.status_code, applied.json["code"]) == (400, "SSH_ARG")


def test_t165_the_api_refuses_inner_addresses_of_every_kind_and_when_they_change(api):
    ssh = {"kind": "ssh", "name": "inner", "account": "keys"}
    assert api.post("/targets", {**ssh, "host": "[::ffff:127.0.0.1]"}).status_code == 400
    for host in ("127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "2130706433"):
        assert api.post("/targets", {**ssh, "host": host}).json["code"] == "SSH_ARG"
    assert api.post("/targets", {**ssh, "host": "outer.example.com"}).status_code == 201
    assert api.post("/targets/inner/endpoint", {"host": "127.0.0.1"}).json["code"] == "SSH_ARG"
    listening = {"kind": "listening", "name": "ear", "address": "127.0.0.1:8444", "thumbprint": "SHA256:x"}
    assert api.post("/targets", listening).json["code"] == "SSH_ARG"


def test_t165_what_an_administrator_allows_is_told_to_the_spoke_that_dials(tmp_path):
    with running_api(tmp_path, allow_inner_targets=True) as api:
        account = {"kind": "password", "fields": {"user": "deploy"}, "secrets": {"password": "open sesame"}}
        api.post("/accounts", {"name": "keys", **account})
        made = api.post("/targets", {"kind": "ssh", "name": "here", "host": "127.0.0.1", "account": "keys"})
        assert made.status_code == 201, made.text
        with connection():
            assert Target.get(Target.name == "here").endpoint["allow_inner"] is True
