"""A spoke's box key is replaced at its age, and a former one is erased as soon as nothing kept needs it."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore, Keys
from spokes.agent.key_rotation import BOX_AGE_S, BOX_KEPT_S, KeyRotation
from spokes.agent.uplink import Uplink
from tests.fakes.parties import FACTS, NOW, FakeHub, FakeSpoke
from wire.session import SpokeIdentity, SpokeSession


class Setting:
    """A spoke with a session, whose clock the test moves."""

    def __init__(self, root):
        self.now_s = 0.0
        self.hub = FakeHub()
        self.home = SpokeHome(root)
        self.home.make()
        self.store = IdentityStore(self.home)
        self.store.save_keys(Keys.generate())
        self.sent, self.asked, self.needed = [], [], set()
        keys = self.store.keys()
        identity = SpokeIdentity("ab" * 16, self.hub.hub_id, keys.signing, (keys.box,))
        session = SpokeSession(identity, self.hub.chain, 1, self.hub.box.public)
        self.spoke = FakeSpoke("ab" * 16, keys.signing, keys.box, session)
        self.hub.spokes.append(self.spoke)
        self.uplink = Uplink(self, session, clock=lambda: self.now_s, wall=lambda: NOW)
        needs = SimpleNamespace(need=lambda box: box.kid in self.needed)
        self.rotation = KeyRotation(
            self.store, self.uplink, needs, ask_anew=lambda: self.asked.append(1), clock=lambda: self.now_s
        )

    def send(self, kind, sealed):
        self.sent.append((kind, sealed.frame))
        done = Future()
        done.set_result(None)
        return done

    def meet(self):
        self.hub.now = NOW + int(self.now_s)
        self.uplink.hello(FACTS)
        self.spoke.box = self.uplink.boxes[0]
        self.uplink.welcome(self.hub.welcome_to(self.spoke, self.sent[-1][1]))
        self.rotation.welcomed()

    def later(self, seconds):
        self.now_s += seconds
        self.rotation.each_second()


@pytest.fixture
def setting(tmp_path):
    made = Setting(tmp_path / "spoke")
    made.meet()
    made.later(61)
    return made


def test_a_box_key_is_replaced_after_a_week_and_the_hub_is_told(setting):
    first = setting.uplink.boxes[0]
    setting.later(BOX_AGE_S - 120)
    assert setting.uplink.boxes == (first,)
    setting.later(120)
    assert setting.asked
    assert setting.store.keys().box.kid == setting.uplink.boxes[0].kid != first.kid
    assert setting.uplink.boxes[1].kid == first.kid
    setting.later(120)
    assert len(setting.uplink.boxes) == 2


def test_a_former_box_key_is_erased_when_no_kept_command_needs_it(setting):
    first = setting.uplink.boxes[0]
    setting.later(BOX_AGE_S)
    setting.later(BOX_KEPT_S + 61)
    assert first.kid in {box.kid for box in setting.store.former_boxes().values()}
    setting.meet()
    setting.needed = {first.kid}
    setting.later(61)
    assert len(setting.uplink.boxes) == 2
    setting.needed = set()
    setting.later(61)
    assert [box.kid for box in setting.uplink.boxes] == [setting.store.keys().box.kid]
    assert setting.store.former_boxes() == {}
    assert first.secret not in b"".join(path.read_bytes() for path in setting.home.identity.iterdir())


def test_a_power_cut_between_the_two_files_leaves_a_key_that_works(setting):
    keys = setting.store.keys()
    (setting.home.identity / f"box-{NOW}.key").write_bytes(keys.box.secret)
    (setting.home.identity / f"box-{NOW}.key").chmod(0o600)
    setting.later(61)
    assert setting.store.former_boxes() == {}
    assert setting.store.keys().box.kid == keys.box.kid


def test_a_key_that_cannot_be_stored_is_not_used(setting, monkeypatch):
    before = setting.uplink.signing
    setting.rotation.begin()
    monkeypatch.setattr(setting.store, "take_over_next", lambda: (_ for _ in ()).throw(OSError("no room")))
    setting.spoke.signing = before
    setting.hub.spokes.append(
        FakeSpoke("ab" * 16, setting.store.next_signing(), setting.spoke.box, setting.spoke.session)
    )
    setting.meet()
    assert setting.uplink.signing.kid == before.kid == setting.store.keys().signing.kid
    monkeypatch.undo()
    setting.meet()
    setting.meet()
    assert setting.uplink.signing.kid == setting.store.keys().signing.kid != before.kid
