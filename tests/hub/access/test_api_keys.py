"""API keys: shown once, checked with their owner's state, never beyond their year."""

import pytest

from hub.access.api_keys import LONGEST_MS, new_api_key, revoke_api_key, verify
from hub.access.users import create_user
from hub.errors import Invalid, NotSignedIn, SealBroken
from hub.storage.database import write_tx
from hub.storage.models import ApiKey, User

NOW = 1_800_000_000_000
YEAR = NOW + LONGEST_MS


@pytest.fixture
def hub(installed_hub_on_each):
    return installed_hub_on_each


@pytest.fixture
def user(hub):
    with write_tx():
        return create_user(hub.seals, "ann", NOW)


@pytest.fixture
def text(hub, user):
    with write_tx():
        _, key = new_api_key(hub.seals, user, "ci", NOW, expires_at=YEAR, scopes=["task.view", "deployment.create"])
    return key.reveal()


def test_the_text_opens_and_is_not_stored(hub, text, user):
    row = verify(text, hub.seals, NOW)
    assert (row.user, row.name, row.scopes) == (user.id, "ci", ["deployment.create", "task.view"])
    assert text[len("mak_00000000_") :][:43] not in str(ApiKey.select().dicts().get())
    assert text.startswith(f"mak_{row.id}_")


def test_no_changed_character_opens(hub, text):
    for position in range(len(text)):
        changed = text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]
        with pytest.raises(NotSignedIn):
            verify(changed, hub.seals, NOW)
    for other in ("", text + "\n", text.upper(), "mak_\u0661", text[:-9]):
        with pytest.raises(NotSignedIn):
            verify(other, hub.seals, NOW)


def test_it_ends_at_its_expiry(hub, text):
    verify(text, hub.seals, YEAR - 1)
    with pytest.raises(NotSignedIn):
        verify(text, hub.seals, YEAR)


def test_revoked_it_opens_nothing(hub, text):
    with write_tx():
        revoke_api_key(hub.seals, ApiKey.get(), NOW)
        revoke_api_key(hub.seals, ApiKey.get(), NOW)
    with pytest.raises(NotSignedIn):
        verify(text, hub.seals, NOW)
    hub.seals.check(ApiKey.get())


def test_the_key_of_a_disabled_person_opens_nothing(hub, text, user):
    User.update(state="disabled").where(User.id == user.id).execute()
    with pytest.raises(NotSignedIn):
        verify(text, hub.seals, NOW)


@pytest.mark.parametrize("change", [{"scopes": None}, {"expires_at": 10**15}, {"sha256": "ab" * 32}, {"version": 7}])
def test_a_key_changed_by_sql_is_not_used(hub, text, change):
    ApiKey.update(change).execute()
    with pytest.raises((SealBroken, NotSignedIn)):
        verify(text, hub.seals, NOW)


def test_its_use_is_noted_once_a_minute(hub, text):
    verify(text, hub.seals, NOW)
    verify(text, hub.seals, NOW + 59_999)
    assert ApiKey.get().used_at == NOW
    verify(text, hub.seals, NOW + 60_000)
    assert ApiKey.get().used_at == NOW + 60_000
    hub.seals.check(ApiKey.get())


@pytest.mark.parametrize(
    "options",
    [
        {"expires_at": NOW},
        {"expires_at": YEAR + 1},
        {"expires_at": YEAR, "scopes": ["all"]},
        {"expires_at": YEAR, "name": " "},
    ],
)
def test_what_cannot_be_a_key_is_refused(hub, user, options):
    options = {"name": "ci"} | options
    with pytest.raises(Invalid), write_tx():
        new_api_key(hub.seals, user, options.pop("name"), NOW, **options)
