"""The runner's document carries the signature of the release key of the day; bytes and number stay."""

import pytest

from hub.packages.runner_package import VALID_S, latest_runner
from hub.storage.database import write_tx
from hub.storage.hub_keys import signing_key
from hub.storage.hub_trust import trust_chain
from hub.storage.models import Event, PackageVersion
from hub.trust.rotation import KeyName, rotate
from hub.trust.runner_release import RENEW_BEFORE_S, sign_anew_if_due
from tests.hub.orchestrator.rig import Rig
from wire.documents import RunnerDocument
from wire.roles import Role


@pytest.fixture
def runner(installed_hub, acting):
    made = Rig(installed_hub)
    now_s = acting.now_ms // 1000
    document = RunnerDocument("manyarm-runner", 7, "1.0.0", "0" * 64, 1, "3.9", ("linux",), now_s, now_s + VALID_S, "")
    frame = document.sign(signing_key(installed_hub.vault, Role.HUB_RELEASE))
    with write_tx():
        PackageVersion.update(release_document=frame).execute()
    yield document
    made.close()


def opened(acting):
    row = latest_runner()
    return RunnerDocument.open(bytes(row.release_document), trust_chain().directory(), acting.now_ms // 1000)


def test_it_is_signed_anew_after_the_release_key_was_replaced(runner, acting):
    assert not sign_anew_if_due(acting)
    with write_tx():
        rotate(acting, KeyName.RELEASE, revoke=True)
    assert sign_anew_if_due(acting)
    assert (opened(acting).release, opened(acting).sha256) == (runner.release, runner.sha256)
    assert not sign_anew_if_due(acting)
    assert Event.select().where(Event.action == "runner.sign").count() == 1


def test_it_is_signed_anew_long_before_it_ends(runner, acting):
    acting.now_ms += (VALID_S - RENEW_BEFORE_S + 60) * 1000
    assert sign_anew_if_due(acting)
    assert opened(acting).expires == acting.now_ms // 1000 + VALID_S
