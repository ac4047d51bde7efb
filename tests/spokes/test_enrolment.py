"""Joining a hub: what is verified before the token is shown, what is on disk when, and how it goes on after a break."""

import logging
import secrets
import stat

import pytest

from spokes.__main__ import main
from spokes.agent.enrolment import Enroller, Wish
from spokes.agent.errors import AlreadyEnrolled, JoinRefused, NotApproved, NotEnrolled, RootDiffers
from spokes.agent.gateway import Gateway
from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore
from spokes.agent.trust_store import TrustStore
from tests.fakes.parties import NOW
from wire.envelope import MessageType
from wire.exchange import open_enrol, seal_to_spoke
from wire.join_code import JoinCode
from wire.keys import BoxPublicKey, SigningKey, new_id, thumbprint, thumbprint_of_digest
from wire.messages import BrokerAccess, Enrolled
from wire.roles import Role
from wire.trust import DocumentKey


@pytest.fixture(autouse=True)
def logging_as_before():
    """The command sends all logs of its process to standard error; here others log too."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def code(hub, gateway) -> JoinCode:
    return JoinCode(hub.root_sha256, secrets.token_bytes(8), secrets.token_bytes(16), gateway.address)


@pytest.fixture
def home(tmp_path) -> SpokeHome:
    home = SpokeHome(tmp_path / "spoke")
    home.make()
    return home


@pytest.fixture
def approving(hub, gateway):
    """The hub approves whoever asks; what it was asked is kept."""
    asked = []

    def answer(frame: bytes) -> bytes:
        received = open_enrol(frame, [hub.box], hub.hub_id)
        asked.append(received.body)
        spoke_id = new_id()
        body = Enrolled(
            spoke_id=spoke_id,
            enrol_sha256=received.frame_sha256,
            trust_version=hub.chain.version,
            broker=BrokerAccess("amqp://127.0.0.1:5673", f"spoke-{spoke_id}", "broker-password", "manyarm", ""),
            gateway=gateway.address,
            hub_id=hub.hub_id,
        )
        return seal_to_spoke(
            MessageType.ENROLLED,
            body,
            signer=hub.command,
            spoke_box=BoxPublicKey.of(bytes.fromhex(received.body.box_pk)),
            hub_id=hub.hub_id,
            spoke_id=spoke_id,
            ses="",
            seq=0,
            epoch=1,
            now_s=NOW,
        ).frame

    gateway.answer_enrolment = answer
    return asked


def enroller(home, code, said=None) -> Enroller:
    return Enroller(home, Gateway(code.address, timeout_s=5), say=(said if said is not None else []).append)


def files_in(home) -> list[str]:
    return sorted(
        str(path.relative_to(home.root))
        for folder in (home.identity, home.trust)
        for path in folder.rglob("*")
        if path.is_file()
    )


def test_an_approved_spoke_knows_who_it_is_and_how_to_reach_the_broker(home, code, approving, hub):
    said: list[str] = []
    made = enroller(home, code, said).enrol(code, Wish("web-1", ("web",)), gateway=code.address, wait_s=5)
    kept = IdentityStore(home).enrolment()
    assert (kept.spoke_id, kept.hub_id, kept.root) == (made.spoke_id, hub.hub_id, hub.root_sha256)
    assert kept.broker_password.reveal() == "broker-password"
    assert approving[0].requested_name == "web-1"
    assert approving[0].roles == ("web",)
    assert approving[0].token_secret == code.token_secret.hex()
    assert any(IdentityStore(home).keys().thumbprint in line for line in said)
    assert TrustStore(home).load(hub.root_sha256).version == hub.chain.version


def test_everything_that_is_secret_is_private(home, code, approving):
    enroller(home, code).enrol(code, Wish("web-1"), gateway=code.address, wait_s=5)
    for name in files_in(home):
        assert stat.S_IMODE((home.root / name).stat().st_mode) == 0o600, name
    assert "pending" not in " ".join(files_in(home))


def test_without_approval_in_time_it_gives_up_and_goes_on_later_with_the_same_keys(home, code, gateway, hub, approving):
    answer, gateway.answer_enrolment = gateway.answer_enrolment, lambda _: None
    with pytest.raises(NotApproved):
        enroller(home, code).enrol(code, Wish("web-1"), gateway=code.address, wait_s=0.3)
    first = IdentityStore(home).keys().thumbprint
    gateway.answer_enrolment = answer
    enroller(home, code).enrol(code, Wish("web-1"), gateway=code.address, wait_s=5)
    assert IdentityStore(home).keys().thumbprint == first
    assert len(gateway.enrolments) == 1


def test_a_refused_code_leaves_no_keys(home, code, gateway):
    gateway.refuse_enrolments = True
    with pytest.raises(JoinRefused):
        enroller(home, code).enrol(code, Wish("web-1"), gateway=code.address, wait_s=1)
    assert files_in(home) == []


def test_a_home_that_is_enrolled_is_not_enrolled_again(home, code, approving):
    enroller(home, code).enrol(code, Wish("web-1"), gateway=code.address, wait_s=5)
    with pytest.raises(AlreadyEnrolled, match="web-1"):
        enroller(home, code).enrol(code, Wish("web-2"), gateway=code.address, wait_s=5)


def test_a_machine_that_trusts_one_root_refuses_a_code_of_another(home, code, gateway):
    IdentityStore(home).require_root(secrets.token_bytes(32))
    with pytest.raises(RootDiffers):
        enroller(home, code).enrol(code, Wish("web-1"), gateway=code.address, wait_s=1)
    assert gateway.log == []


def test_a_home_without_identity_says_what_to_do(home):
    with pytest.raises(NotEnrolled, match="manyarm-spoke enrol"):
        IdentityStore(home).enrolment()


# The command line


def test_the_command_enrols_and_says_the_thumbprint(tmp_path, code, approving, capsys):
    home = tmp_path / "cli"
    assert main(["--home", str(home), "enrol", code.text, "--name", "web-1", "--role", "web", "--wait", "5"]) == 0
    out = capsys.readouterr().out
    assert main(["--home", str(home), "thumbprint"]) == 0
    shown = capsys.readouterr().out.strip()
    assert shown in out
    assert shown == thumbprint(IdentityStore(SpokeHome(home)).keys().signing.verify_key.pk)
    assert code.token_secret.hex() not in out


def test_waiting_in_vain_exits_with_six(tmp_path, code, gateway, capsys):
    assert main(["--home", str(tmp_path / "cli"), "enrol", code.text, "--name", "web-1", "--wait", "0.2"]) == 6
    assert "approved" in capsys.readouterr().err


def test_a_hub_that_does_not_answer_exits_with_five(tmp_path, code, capsys):
    words = ["--home", str(tmp_path / "cli"), "enrol", code.text, "--name", "x", "--hub", "127.0.0.1:9", "--wait", "1"]
    assert main(words) == 5
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_a_mistyped_code_exits_before_any_network_use(tmp_path, code, gateway, capsys):
    wrong = code.text[:-1] + ("a" if code.text[-1] != "a" else "b")
    assert main(["--home", str(tmp_path / "cli"), "enrol", wrong, "--name", "web-1"]) == 3
    assert "mistyped" in capsys.readouterr().err
    assert gateway.log == []


def test_run_and_status_of_a_home_that_is_not_enrolled_exit_with_four(tmp_path, capsys):
    for word in ("run", "status", "thumbprint"):
        assert main(["--home", str(tmp_path / "cli"), word]) == 4
    assert "enrol" in capsys.readouterr().err


def test_trust_names_a_root_before_enrolment_and_compares_it_after(tmp_path, code, approving, hub, capsys):
    home = str(tmp_path / "cli")
    root = thumbprint_of_digest(hub.root_sha256)
    assert main(["--home", home, "trust", root]) == 0
    assert main(["--home", home, "enrol", code.text, "--name", "web-1", "--wait", "5"]) == 0
    assert main(["--home", home, "trust", root]) == 0
    assert main(["--home", home, "trust", thumbprint_of_digest(b"\1" * 32)]) == 3
    assert root in capsys.readouterr().err


def test_a_key_file_that_others_can_read_is_refused_with_what_to_do(tmp_path, code, approving, capsys):
    home = tmp_path / "cli"
    main(["--home", str(home), "enrol", code.text, "--name", "web-1", "--wait", "5"])
    (home / "identity" / "sign.key").chmod(0o644)
    assert main(["--home", str(home), "thumbprint"]) == 3
    assert "chmod 600" in capsys.readouterr().err


def test_settings_with_a_typo_are_refused_with_file_and_line(tmp_path, capsys):
    home = tmp_path / "cli"
    home.mkdir()
    (home / "spoke.toml").write_text("\nstandbye = true\n")
    assert main(["--home", str(home), "status"]) == 2
    assert "spoke.toml:2" in capsys.readouterr().err


def test_a_hub_that_changed_its_command_key_while_we_waited_is_believed_by_its_newest_document(
    home, code, approving, hub, gateway
):
    answer, fresh = gateway.answer_enrolment, SigningKey.generate()

    def after_the_change(frame: bytes) -> bytes:
        keys = hub.chain.document.keys
        named = DocumentKey.of(fresh.verify_key, Role.HUB_COMMAND, nbf=keys[0].nbf, naf=keys[0].naf)
        hub.publish(keys=(*keys, named))
        hub.command = fresh
        return answer(frame)

    gateway.answer_enrolment = after_the_change
    begun = hub.chain.version
    enroller(home, code).enrol(code, Wish("web-1"), gateway=code.address, wait_s=5)
    assert TrustStore(home).load(hub.root_sha256).version == begun + 1
