"""A hub is installed whole, once, and its trust document is one that spokes take."""

import hashlib
import stat
import time
from dataclasses import replace

import pytest

from hub.errors import Conflict, Invalid, SealBroken
from hub.installation import install, renew_setup_code
from hub.storage.database import connection
from hub.storage.hub_keys import TLS_BROKER, TLS_GATEWAY, box_document, box_keys, signing_key, spki_sha256
from hub.storage.hub_trust import installation, load_seals, trust_chain
from hub.storage.key_check import unlock
from hub.storage.models import Event, HubKey, Installation, SetupCode, TrustFrame, User
from tests.hub.conftest import settings_in
from wire.documents import BoxDocument
from wire.keys import SigningKey, parse_thumbprint
from wire.roles import Role
from wire.trust import DocumentKey, TrustChain, sign_trust


def test_the_trust_document_starts_from_the_printed_thumbprint(installed_hub_on_each):
    hub = installed_hub_on_each
    chain = TrustChain.from_root(parse_thumbprint(hub.installed.root_thumbprint), [TrustFrame.get().frame])
    document = chain.document
    assert (document.version, document.hub, document.epoch, document.threshold) == (1, hub.installed.hub_id, 1, 1)
    for role in (Role.HUB_ROOT, Role.HUB_COMMAND, Role.HUB_PORTAL, Role.HUB_RELEASE, Role.HUB_AUDIT, Role.HUB_ROWS):
        assert [key.pk for key in document.trusted(role)] == [signing_key(hub.vault, role).verify_key.pk]
    for role, name in ((TLS_GATEWAY, "gateway"), (TLS_BROKER, "broker")):
        assert document.pins(name) == (spki_sha256(signing_key(hub.vault, role).verify_key.pk),)
    assert not chain.expired(int(time.time()))


def test_the_box_key_is_certified_by_hub_command(installed_hub_on_each):
    hub, now = installed_hub_on_each, int(time.time())
    document = BoxDocument.open(box_document(), trust_chain().directory(), now, hub.installed.hub_id)
    assert document.box == box_keys(hub.vault)[0].public


def test_a_tls_pin_is_what_the_certificate_shows(installed_hub):
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256, Hash
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from wire.tls import make_certificate

    key = signing_key(installed_hub.vault, TLS_GATEWAY)
    made = make_certificate(key.seed, "gateway")
    certificate = x509.load_pem_x509_certificate(made[0] if isinstance(made, tuple) else made.certificate)
    digest = Hash(SHA256())
    digest.update(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert digest.finalize().hex() == spki_sha256(key.verify_key.pk)


def test_there_is_no_account_before_somebody_uses_the_setup_code(installed_hub):
    assert User.select().count() == 0
    assert SetupCode.select().count() == 1
    assert installed_hub.installed.setup_code not in str(SetupCode.select().dicts().get())


def test_installing_is_on_the_record(installed_hub):
    assert [row.action for row in Event.select()] == ["hub.install"]


def test_a_second_installation_is_refused_and_changes_nothing(installed_hub):
    before = installed_hub.settings.home.joinpath("manyarm.db").read_bytes()
    with pytest.raises(Conflict):
        install(installed_hub.settings)
    assert installed_hub.settings.home.joinpath("manyarm.db").read_bytes() == before


def test_nothing_shown_once_stands_in_a_repr(installed_hub):
    shown = repr(installed_hub.installed)
    assert installed_hub.installed.recovery_string not in shown
    assert installed_hub.installed.setup_code not in shown


def test_the_home_and_the_key_are_ours_alone(installed_hub):
    assert stat.S_IMODE(installed_hub.home.stat().st_mode) == 0o700
    key = installed_hub.home.parent / "home.master-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_first_run_that_died_after_making_the_key_goes_on_with_it(tmp_path):
    settings = settings_in(tmp_path)
    (tmp_path / "home.master-key").write_text("ab" * 32 + "\n")
    (tmp_path / "home.master-key").chmod(0o600)
    install(settings)
    assert unlock(settings.master_key_source, settings.home, settings.database).key == b"\xab" * 32


def test_a_new_setup_code_replaces_the_first(installed_hub):
    first = SetupCode.get().sha256
    code = renew_setup_code(installed_hub.settings)
    with connection():
        assert SetupCode.select().count() == 1
        assert SetupCode.get().sha256 != first
        assert Event.select().order_by(Event.seq.desc()).first().action == "setup-code.create"
    assert code != installed_hub.installed.setup_code


def test_a_source_that_cannot_be_written_leaves_no_half_hub(tmp_path):
    settings = settings_in(tmp_path)
    with pytest.raises(Invalid):
        install(type(settings)(settings.home, settings.database, "vault:x"))
    assert not settings.home.joinpath("manyarm.db").exists()


def test_a_root_put_in_place_by_sql_is_refused(installed_hub):
    Installation.update(root_thumbprint="ab" * 32).execute()
    with pytest.raises(SealBroken):
        load_seals(installed_hub.vault)
    with pytest.raises(SealBroken):
        load_seals(installed_hub.vault_of("portal"))


def test_a_whole_chain_of_his_own_does_not_help_who_writes_sql(installed_hub):
    """He replaces the root, the trust document and the hub-rows key, all signed by himself; he holds no master key."""
    now = int(time.time())
    root, rows = SigningKey.generate(), SigningKey.generate()
    document = trust_chain().document
    keys = tuple(
        DocumentKey.of(key.verify_key, role, nbf=now - 9, naf=now + 999)
        for key, role in ((root, Role.HUB_ROOT), (rows, Role.HUB_ROWS))
    )
    frame = sign_trust(replace(document, keys=keys), [root])
    TrustFrame.update(frame=frame).execute()
    Installation.update(root_thumbprint=hashlib.sha256(root.verify_key.pk).hexdigest()).execute()
    assert trust_chain().document.keys == keys
    for vault in (installed_hub.vault, installed_hub.vault_of("portal")):
        with pytest.raises(SealBroken, match="another root"):
            load_seals(vault)


def test_the_installation_names_its_hub(installed_hub):
    assert installation().hub_id == installed_hub.installed.hub_id
    assert HubKey.select().count() == 9
