"""The root and release keys can leave the hub, and only they."""

import pytest

from hub.errors import Conflict, Invalid, NotFound
from hub.storage.database import write_tx
from hub.storage.hub_keys import signing_key
from hub.storage.models import HubKey
from hub.storage.vault_export import forget_exported, read_exported, write_exported
from tests.hub.conftest import CHEAP
from wire.keys import SigningKey
from wire.roles import Role

PHRASE = "kelp wharf anvil motto"


def test_an_exported_key_opens_with_its_passphrase_and_is_gone_from_the_hub(installed_hub, tmp_path):
    hub, path = installed_hub, tmp_path / "root.key"
    key = signing_key(hub.vault, Role.HUB_ROOT)
    write_exported(hub.vault, Role.HUB_ROOT, PHRASE, path, CHEAP)
    assert key.seed.hex() not in path.read_text()
    with pytest.raises(Invalid, match="passphrase"):
        read_exported(path, PHRASE + "!")
    assert signing_key(hub.vault, Role.HUB_ROOT).kid == key.kid
    with write_tx():
        forget_exported(hub.seals, Role.HUB_ROOT, path, PHRASE)
    with pytest.raises(NotFound, match="exported"):
        signing_key(hub.vault, Role.HUB_ROOT)
    assert read_exported(path, PHRASE).seed == key.seed
    hub.seals.check(HubKey.get(HubKey.role == Role.HUB_ROOT))


def test_other_keys_stay_short_phrases_and_existing_files_are_refused(installed_hub, tmp_path):
    path = tmp_path / "k"
    for role, phrase in ((Role.HUB_COMMAND, PHRASE), (Role.HUB_ROOT, "short")):
        with pytest.raises(Invalid):
            write_exported(installed_hub.vault, role, phrase, path, CHEAP)
    path.write_text("mine")
    with pytest.raises(Invalid):
        write_exported(installed_hub.vault, Role.HUB_ROOT, PHRASE, path, CHEAP)
    assert path.read_text() == "mine"


def test_a_file_of_another_key_takes_nothing_out_of_the_hub(installed_hub, tmp_path, monkeypatch):
    stranger = SigningKey.generate()
    monkeypatch.setattr("hub.storage.vault_export.signing_key", lambda *_: stranger)
    write_exported(installed_hub.vault, Role.HUB_ROOT, PHRASE, tmp_path / "k", CHEAP)
    with pytest.raises(Conflict), write_tx():
        forget_exported(installed_hub.seals, Role.HUB_ROOT, tmp_path / "k", PHRASE)
    signing_key(installed_hub.vault, Role.HUB_ROOT)
