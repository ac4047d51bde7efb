"""Keys that are replaced, lost or copied: power cuts on either side, a retired box key, a spoke that lives twice."""

import shutil
import time

import pytest

from hub.infrastructure.spoke_keys import SpokeDirectory
from hub.infrastructure.spokes import revoke_spoke
from hub.states import SpokeState
from hub.storage.database import write_tx
from hub.storage.hub_trust import trust_chain
from hub.storage.models import Event, Job, Spoke, SpokeConflict, SpokeSession, Target, TrustFrame
from hub.trust.replacing import replace_spoke
from hub.trust.rotation import KeyName, rotate
from tests.fakes.installed_hub import Acting, Person
from tests.fakes.stepping_spoke import FACTS, Home, Killed, Life
from tests.hub.orchestrator.rig import Rig, Run, until
from wire.connection import Outgoing
from wire.documents import RunnerDocument, accept_runner
from wire.errors import Code, Refused
from wire.keys import BoxKey, SigningKey
from wire.roles import FOR_EVER, Role
from wire.topology import EVENTS, EventKind, event_key

NOW_MAX = 2**53 - 1


@pytest.fixture
def rig(installed_hub):
    made = Rig(installed_hub)
    made.engine.start()
    yield made
    made.close()


@pytest.fixture
def acting(rig):
    return Acting(rig.hub.vault, rig.hub.seals, rig.parts.clock_ms(), Person())


def row_of(home):
    return Spoke.get_by_id(home.spoke_id)


def assert_one_key(rig, home, *kids):
    """Exactly one key begins sessions: the one on the spoke's disk."""
    disk = home.store.keys().signing.kid
    until(lambda: row_of(home).sign_kid == disk.hex() and row_of(home).next_sign_pk is None)
    assert home.store.next_signing() is None
    directory, believed = SpokeDirectory(rig.hub.seals), []
    for kid in {disk, *kids}:
        try:
            key = directory.key(kid, Role.SPOKE_SIGN, rig.parts.clock_ms() // 1000)
        except Refused:
            continue
        if key.naf == FOR_EVER:
            believed.append(kid)
    assert believed == [disk]


@pytest.mark.parametrize("twice", [False, True], ids=["once", "delivered twice"])
def test_t079_a_spoke_killed_at_any_step_of_its_rotation_has_exactly_one_key_afterwards(rig, tmp_path, twice):
    whole = Home(rig, tmp_path / "whole", "whole")
    first = whole.store.keys().signing.kid
    life = Life(rig, whole, twice=twice)
    life.serve(rotate=True)
    assert_one_key(rig, whole, first)
    assert whole.store.keys().signing.kid != first
    steps = life.steps.taken
    assert steps >= 10
    for kill_at in range(steps):
        home = Home(rig, tmp_path / f"k{kill_at}", f"k{kill_at}")
        before = home.store.keys().signing.kid
        with pytest.raises(Killed):
            Life(rig, home, kill_at=kill_at, twice=twice).serve(rotate=True)
        announced = home.store.next_signing()
        Life(rig, home, twice=twice).serve()
        assert_one_key(rig, home, before, *([announced.kid] if announced else []))


@pytest.mark.parametrize("phase", ["rotate", "hello", "beat"])
def test_t079_a_hub_that_is_away_at_any_step_has_exactly_one_key_afterwards(rig, tmp_path, phase):
    home = Home(rig, tmp_path / "spoke", "web")
    before = home.store.keys().signing.kid
    seen = []

    def cut(what):
        seen.append(what)
        if what == phase and "rotate" in seen:
            # Whatever was not committed comes again to the engine that starts next.
            rig.engine.stop()
            rig.engine.start()

    Life(rig, home).serve(rotate=True, between=cut)
    assert_one_key(rig, home, before)
    assert home.store.keys().signing.kid != before


def test_t079_the_former_key_finishes_what_it_began_and_begins_nothing(rig, tmp_path):
    home = Home(rig, tmp_path / "spoke", "web")
    copied = tmp_path / "thief"
    shutil.copytree(home.root, copied)
    Life(rig, home).serve(rotate=True)
    assert_one_key(rig, home)
    sessions = SpokeSession.select().where(SpokeSession.spoke == home.spoke_id).count()
    old = Home.__new__(Home)
    old.root, old.spoke_id, old.target = copied, home.spoke_id, home.target
    stale = Life(rig, old)
    stale.patience_s = 2.0
    with pytest.raises(AssertionError, match="no welcome"):
        stale.serve()
    assert SpokeSession.select().where(SpokeSession.spoke == home.spoke_id).count() == sessions
    Life(rig, home).serve()


def test_t030_a_command_sealed_to_a_retired_box_key_is_rejected_sealed_anew_and_runs_once(rig):
    spoke = rig.spoke("web", lambda _: Run(("hello\n",))).start()
    until(spoke.live.is_set)
    until(lambda: SpokeSession.select().where(SpokeSession.spoke == spoke.id, SpokeSession.live).exists())
    retired, spoke.box = spoke.box, BoxKey.generate()
    spoke.session.open_with((spoke.box,))
    task = rig.run("echo hello", spoke)
    until(lambda: Code.ENV_SEAL in spoke.rejects)
    assert Spoke.get_by_id(spoke.id).box_pk == retired.public.pk.hex()
    spoke.hello()
    rig.ended(task)
    assert len(spoke.journal) == 1
    assert Job.select().where(Job.task == task.id).count() == 1
    assert Spoke.get_by_id(spoke.id).box_pk == spoke.box.public.pk.hex()


def doubles(spoke):
    return SpokeConflict.get_or_none(SpokeConflict.spoke == spoke.id)


def test_t080_a_copied_disk_shows_when_it_says_hello_and_takes_no_command(rig, acting):
    spoke = rig.spoke("web", lambda _: Run(("ran\n",))).start()
    until(lambda: SpokeSession.select().where(SpokeSession.spoke == spoke.id, SpokeSession.live).exists())
    thief = spoke._session()
    frame = thief.hello(FACTS, time.time(), time.monotonic())
    spoke.connection.publish(Outgoing(EVENTS, event_key(spoke.id, EventKind.HELLO), frame)).result()
    until(lambda: doubles(spoke))
    assert "two copies" in doubles(spoke).words
    assert Event.get(Event.action == "spoke.conflict").outcome == "failed"
    until(lambda: Target.get_by_id(spoke.target.id).health_reason.startswith("SESSION_CONFLICT"))
    task = rig.run("echo ran", spoke)
    rig.ended(task)
    assert len(spoke.journal) == 1
    for command in spoke.commands:
        with pytest.raises(Refused):
            thief.receive(command, time.monotonic())
    with write_tx():
        revoke_spoke(acting, spoke.id, "copied")
    rig.engine.spoke_revoked(spoke.id)
    with pytest.raises(Refused):
        SpokeDirectory(rig.hub.seals).key(spoke.sign.kid, Role.SPOKE_SIGN, 0)


def test_t080_an_original_that_goes_on_beside_a_copy_that_took_its_place_shows_too(rig):
    spoke = rig.spoke("web", lambda _: Run(())).start()
    until(lambda: SpokeSession.select().where(SpokeSession.spoke == spoke.id, SpokeSession.live).exists())
    original, counter = spoke.session, spoke._counter
    spoke.session, spoke._counter = spoke._session(), 0
    spoke.live.clear()
    spoke.hello()
    until(lambda: SpokeSession.select().where(SpokeSession.spoke == spoke.id).count() == 2)
    until(lambda: SpokeSession.select().where(SpokeSession.spoke == spoke.id, SpokeSession.valid_until > 0).exists())
    assert doubles(spoke) is None
    rig.shift_ms += 3_000
    spoke._beating = False
    copy, spoke.session, spoke._counter = spoke.session, original, counter + 1000
    spoke.beat()
    until(lambda: doubles(spoke))
    assert "later one has replaced" in doubles(spoke).words
    spoke.session = copy


def test_t080_a_spoke_that_starts_anew_is_no_copy_of_itself(rig):
    spoke = rig.spoke("web", lambda _: Run(())).start()
    until(spoke.live.is_set)
    spoke.restart()
    until(spoke.live.is_set)
    task = rig.run("true", spoke)
    rig.ended(task)
    assert doubles(spoke) is None


def test_t081_a_spoke_that_slept_over_three_roots_and_a_year_walks_the_hubs_chain(rig, acting):
    asleep = trust_chain()
    for _ in range(3):
        acting.now_ms += 120 * 86_400_000
        for name in (KeyName.ROOT, KeyName.COMMAND):
            with write_tx():
                rotate(acting, name)
    frames = [bytes(row.frame) for row in TrustFrame.select().order_by(TrustFrame.version)]
    awake = asleep.update(frames)
    assert awake.version == 7
    assert awake.document.roots[0].pk != asleep.document.roots[0].pk
    with pytest.raises(Refused) as skipped:
        asleep.update([frames[-1]])
    assert skipped.value.code in {Code.TRUST_SIG, Code.TRUST_GAP}


def test_t072_a_root_that_only_the_thief_of_the_database_made_is_nobodys_root(rig, acting):
    chain = trust_chain()
    with write_tx():
        rotate(acting, KeyName.ROOT)
    frame = bytes(TrustFrame.get(TrustFrame.version == 2).frame)
    alone = frame[: -2 * 80] + frame[-80:]
    with pytest.raises(Refused):
        chain.update([alone])
    assert chain.update([frame]).version == 2


def test_t113_after_the_release_key_was_replaced_lower_release_numbers_count_again(rig, acting):
    kids = [key.kid.hex() for key in trust_chain().document.trusted(Role.HUB_RELEASE)]
    stolen = accept_runner(runner(NOW_MAX), None, min_release=0, kids=kids, at=1)
    with pytest.raises(Refused) as refused:
        accept_runner(runner(5), stolen, min_release=0, kids=kids, at=1)
    assert refused.value.code is Code.RUN_ROLLBACK
    with write_tx():
        rotate(acting, KeyName.RELEASE, revoke=True, reason="stolen")
    fresh = [key.kid.hex() for key in trust_chain().document.trusted(Role.HUB_RELEASE)]
    assert set(fresh).isdisjoint(kids)
    assert accept_runner(runner(5), stolen, min_release=0, kids=fresh, at=1).number == 5


def runner(release):
    return RunnerDocument("manyarm-runner", release, "1.0.0", "ab" * 32, 1, "3.9", ("any",), 1, 2**52, "")


def test_a_lost_key_is_a_new_enrolment_and_the_target_stays_the_same(rig, acting):
    lost = rig.spoke("web", lambda _: Run(())).start()
    until(lost.live.is_set)
    fresh, box = SigningKey.generate(), BoxKey.generate()
    new = Spoke(
        name="web again",
        state=SpokeState.PENDING,
        sign_pk=fresh.verify_key.pk.hex(),
        sign_kid=fresh.kid.hex(),
        box_pk=box.public.pk.hex(),
    )
    with write_tx():
        rig.hub.seals.seal(new)
        new.save(force_insert=True)
    with write_tx():
        assert replace_spoke(acting, new, Spoke.get_by_id(lost.id)) == ""
    target = Target.get(Target.name == "web")
    rig.hub.seals.check(target)
    assert (target.id, target.spoke) == (lost.target.id, new.id)
    assert (Spoke.get_by_id(lost.id).state, Spoke.get_by_id(new.id).state) == (SpokeState.REVOKED, SpokeState.TRUSTED)
    assert Spoke.get_by_id(new.id).name == "web"
