"""Trust documents that are old, thin, forked, forged or withheld."""

import hashlib
from dataclasses import replace

import pytest

from tests.fakes.forging import code_of, receive, refusal
from tests.fakes.parties import DAY, NOW, FakeHub, command, heartbeat, trust_document
from wire import schema
from wire.documents import DocumentKind, HighWaterMark, RunnerDocument, accept_runner, sign_document
from wire.envelope import MessageType
from wire.errors import Code
from wire.keys import SigningKey, thumbprint
from wire.messages import Cancel
from wire.roles import Role
from wire.trust import DocumentKey, TrustChain, TrustDocument, sign_trust


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


def unchecked(document: TrustDocument, *signers: SigningKey) -> bytes:
    """A frame that the signing side would not have made."""
    return sign_document(DocumentKind.TRUST, schema.write_object(document), *signers)


def rooted(*keys: SigningKey, **changes) -> TrustDocument:
    return replace(trust_document("0f" * 16, [(key, Role.HUB_ROOT) for key in keys]), **changes)


def anchored(document: TrustDocument, *signers: SigningKey) -> TrustChain:
    return TrustChain.from_root(hashlib.sha256(signers[0].verify_key.pk).digest(), [unchecked(document, *signers)])


def after(chain: TrustChain, **changes) -> TrustDocument:
    follow = {"version": chain.version + 1, "prev_sha256": chain.sha256}
    return replace(chain.document, **(follow | changes))


def root_keys(*keys: SigningKey) -> tuple[DocumentKey, ...]:
    return tuple(DocumentKey.of(key.verify_key, Role.HUB_ROOT, nbf=NOW - DAY, naf=NOW + 365 * DAY) for key in keys)


def test_t071_an_older_version_and_the_same_version_with_other_bytes_are_refused(hub):
    first = hub.chain
    second_frame = hub.publish()
    second = first.update([second_frame])
    forked = unchecked(after(first, min_envelope=2), hub.root)
    assert code_of(second.update, first.frames) is Code.TRUST_ROLLBACK
    assert code_of(second.update, [forked]) is Code.TRUST_ROLLBACK
    assert code_of(second.update, [unchecked(replace(first.document, min_envelope=3), hub.root)]) is Code.TRUST_ROLLBACK
    assert second.update([second_frame]).version == 2
    third = second.update([unchecked(after(second, epoch=5), hub.root)])
    assert third.update([unchecked(after(third, epoch=5), hub.root)]).version == 4
    assert code_of(third.update, [unchecked(after(third, epoch=4), hub.root)]) is Code.TRUST_ROLLBACK


def test_t071_an_old_document_is_a_rollback_even_after_its_root_was_replaced(hub):
    fresh = SigningKey.generate()
    changed = unchecked(after(hub.chain, keys=root_keys(fresh)), hub.root, fresh)
    assert code_of(hub.chain.update([changed]).update, hub.chain.frames) is Code.TRUST_ROLLBACK


def test_t072_a_change_of_root_walks_every_version_and_is_signed_by_old_and_new(hub):
    old, new = hub.root, SigningKey.generate()
    next_document = after(hub.chain, keys=root_keys(new))
    assert code_of(hub.chain.update, [unchecked(next_document, new)]) is Code.TRUST_SIG
    assert code_of(hub.chain.update, [unchecked(next_document, old)]) is Code.TRUST_SIG
    second = unchecked(next_document, old, new)
    changed = hub.chain.update([second])
    third = unchecked(after(changed), new)
    assert changed.update([third]).version == 3
    leap = unchecked(after(changed), new, old)
    assert code_of(hub.chain.update, [third]) is Code.TRUST_SIG
    assert code_of(hub.chain.update, [leap]) is Code.TRUST_GAP
    assert hub.chain.update([second, third]).version == 3


def test_t072_a_root_key_past_its_time_hands_over_to_none(hub):
    late = {"issued": NOW + 366 * DAY, "expires": NOW + 500 * DAY}
    new = SigningKey.generate()
    keys = tuple(replace(key, nbf=NOW, naf=NOW + 700 * DAY) for key in root_keys(new))
    handover = unchecked(after(hub.chain, keys=keys, **late), hub.root, new)
    assert code_of(hub.chain.update, [handover]) is Code.TRUST_SIG
    assert hub.chain.update([unchecked(after(hub.chain, keys=keys, issued=NOW), hub.root, new)]).version == 2


def test_t072_versions_may_be_skipped_only_while_the_roots_stay(hub):
    skipped = unchecked(replace(hub.chain.document, version=7, prev_sha256="1" * 64), hub.root)
    assert hub.chain.update([skipped]).version == 7
    other_past = unchecked(after(hub.chain, prev_sha256="1" * 64), hub.root)
    assert code_of(hub.chain.update, [other_past]) is Code.TRUST_GAP


def test_t073_after_a_bad_document_the_old_one_is_in_force_and_nothing_of_the_bad_one_is_kept(hub):
    held = hub.chain
    good = unchecked(after(held), hub.root)
    bad = unchecked(after(held.update([good]), threshold=2), hub.root)
    assert code_of(held.update, [good, bad]) is Code.TRUST_THRESHOLD
    assert (held.version, len(held.frames)) == (1, 1)
    restarted = TrustChain.from_root(hub.root_sha256, held.frames)
    assert (restarted.document, restarted.frames) == (held.document, held.frames)
    assert restarted.update([good]).version == 2


def test_t074_one_key_counts_once_however_often_it_signs():
    one, two, three = (SigningKey.generate() for _ in range(3))
    document = rooted(one, two, three, threshold=2)
    assert code_of(anchored, document, one) is Code.TRUST_THRESHOLD
    assert code_of(anchored, document, one, one) is Code.TRUST_THRESHOLD
    assert code_of(anchored, document, one, SigningKey.generate()) is Code.TRUST_THRESHOLD
    chain = anchored(document, one, three)
    assert chain.version == 1
    assert code_of(chain.update, [unchecked(after(chain), two)]) is Code.TRUST_THRESHOLD
    assert chain.update([unchecked(after(chain), three, two)]).version == 2


def test_t074_one_key_under_two_ids_and_two_keys_under_one_id_are_refused():
    one, two = SigningKey.generate(), SigningKey.generate()
    honest, other = root_keys(one, two)
    for keys in (
        (honest, replace(honest, kid="ab" * 16)),
        (honest, honest),
        (honest, replace(other, kid=honest.kid)),
        (honest, replace(honest, role=Role.HUB_COMMAND)),
    ):
        document = rooted(one, two, keys=keys, threshold=1)
        assert code_of(anchored, document, one) is Code.TRUST_THRESHOLD
        assert code_of(sign_trust, document, [one]) is Code.TRUST_THRESHOLD


def test_t074_a_false_signature_beside_a_good_one_refuses_the_document(hub):
    one, two = SigningKey.generate(), SigningKey.generate()
    frame = unchecked(rooted(one, two), one, two)
    broken = frame[:-1] + bytes([frame[-1] ^ 1])
    assert code_of(TrustChain.from_root, hashlib.sha256(one.verify_key.pk).digest(), [broken]) is Code.TRUST_SIG


@pytest.mark.parametrize("threshold", [0, -1, 3, 2**31])
def test_t075_a_threshold_that_cannot_be_met_is_refused_at_signing_and_at_loading(threshold):
    one, two = SigningKey.generate(), SigningKey.generate()
    document = rooted(one, two, threshold=threshold)
    assert code_of(sign_trust, document, [one, two]) is Code.TRUST_THRESHOLD
    assert code_of(anchored, document, one, two) is Code.TRUST_THRESHOLD


def test_t075_a_document_without_root_keys_is_refused_at_signing_and_at_loading():
    root = SigningKey.generate()
    revoked = (root.kid.hex(),)
    for document in (rooted(), rooted(root, revoked=revoked), rooted(root, keys=())):
        assert code_of(sign_trust, document, [root]) is Code.TRUST_THRESHOLD
        assert code_of(anchored, document, root) in (Code.TRUST_THRESHOLD, Code.TRUST_SIG)


def runner_document(release: int, sha256: str = "a" * 64, **changes) -> RunnerDocument:
    document = RunnerDocument("runner", release, "1.0.0", sha256, 10, "3.9", ("linux",), NOW, NOW + 180 * DAY, "")
    return replace(document, **changes)


def test_t076_a_thief_of_a_role_key_leaps_once_and_its_replacement_forgives_the_leap():
    stolen, fresh, other_role = ["aa" * 16], ["bb" * 16], HighWaterMark(50, "c" * 64, frozenset({"dd" * 16}))

    def take(release, mark, kids, sha256="a" * 64):
        return accept_runner(runner_document(release, sha256), mark, min_release=1, kids=kids, at=NOW)

    mark = take(9_000, take(1, None, stolen), stolen)
    assert code_of(take, 29_000, mark, stolen) is Code.TRUST_FORWARD
    assert code_of(take, 5, mark, stolen) is Code.RUN_ROLLBACK
    assert code_of(take, 9_000, mark, stolen, "b" * 64) is Code.RUN_ROLLBACK
    assert take(9_000, mark, stolen) == mark
    assert take(5, mark, fresh).number == 5
    assert (
        code_of(other_role.advance, 5, "e" * 64, frozenset({"dd" * 16}), older=Code.TRUST_ROLLBACK)
        is Code.TRUST_ROLLBACK
    )


def test_t076_the_trust_documents_own_number_leaps_no_more_than_ten_thousand(hub):
    far = unchecked(replace(hub.chain.document, version=10_002), hub.root)
    assert code_of(hub.chain.update, [far]) is Code.TRUST_FORWARD
    near = unchecked(replace(hub.chain.document, version=10_001), hub.root)
    assert hub.chain.update([near]).version == 10_001


def test_t077_a_withheld_document_is_noticed_at_the_next_welcome_and_healed_by_fetching_it(hub):
    spoke = hub.new_spoke()
    hub.open_session(spoke)
    assert not spoke.session.trust_behind
    update = hub.publish()
    hub.open_session(spoke)
    assert spoke.session.trust_behind
    spoke.session.trust = spoke.session.trust.update([update])
    assert not spoke.session.trust_behind


def test_t077_an_expired_document_stops_new_commands_but_no_report_and_a_new_one_heals(hub):
    spoke = hub.new_spoke()
    spoke.session.trust = hub.chain.update([hub.publish(expires=NOW + DAY)])
    hub.open_session(spoke)
    assert receive(spoke, hub.send(spoke, command()).frame)
    hub.now += DAY
    spoke.mono += DAY
    late = hub.send(spoke, command()).frame
    assert code_of(receive, spoke, late) is Code.TRUST_EXPIRED
    assert receive(spoke, hub.send(spoke, Cancel(command().cid, ""), kind=MessageType.CANCEL).frame)
    assert hub.receive(spoke.session.seal(MessageType.HEARTBEAT, heartbeat(spoke.session), spoke.mono).frame)
    spoke.session.trust = spoke.session.trust.update([hub.publish(expires=NOW + 300 * DAY)])
    assert receive(spoke, late).body


def test_t081_a_spoke_that_slept_through_three_root_rotations_walks_the_chain(hub):
    spoke = hub.new_spoke()
    held, chain, signer, frames = spoke.session.trust, hub.chain, hub.root, []
    for _ in range(3):
        fresh = SigningKey.generate()
        keys = (*root_keys(fresh), *(key for key in chain.document.keys if key.role is not Role.HUB_ROOT))
        frames += [unchecked(after(chain, keys=keys), signer, fresh)]
        chain, signer = chain.update(frames[-1:]), fresh
        frames += [unchecked(after(chain), signer)]
        chain = chain.update(frames[-1:])
    assert code_of(held.update, frames[-1:]) in (Code.TRUST_SIG, Code.TRUST_GAP)
    hub.chain = chain
    spoke.session.trust = held.update(frames)
    assert spoke.session.trust.version == 7
    hub.open_session(spoke)
    assert receive(spoke, hub.send(spoke, command()).frame).first
    newest_root = hashlib.sha256(signer.verify_key.pk).digest()
    joined = TrustChain.from_root(newest_root, [*held.frames, *frames])
    assert (joined.version, len(joined.frames)) == (7, 2)


def test_t065_a_hub_with_another_root_is_refused_with_both_thumbprints(hub):
    impostor = FakeHub(hub_id=hub.hub_id)
    refused = refusal(TrustChain.from_root, hub.root_sha256, impostor.chain.frames)
    assert refused.code is Code.TRUST_SIG
    assert thumbprint(hub.root.verify_key.pk) in refused.detail
    assert thumbprint(impostor.root.verify_key.pk) in refused.detail
    assert code_of(TrustChain.from_root, hub.root_sha256, []) is Code.TRUST_SIG


def test_t065_a_document_that_names_our_root_without_its_signature_is_refused(hub):
    impostor = SigningKey.generate()
    document = rooted(impostor, keys=root_keys(hub.root, impostor))
    for signers in ([impostor], [impostor, impostor]):
        frame = unchecked(document, *signers)
        assert code_of(TrustChain.from_root, hub.root_sha256, [frame]) is Code.TRUST_SIG


@pytest.mark.parametrize("changes", [{"expires": NOW - DAY}, {"expires": NOW + 401 * DAY}, {"issued": NOW + 365 * DAY}])
def test_a_document_that_is_never_valid_or_too_long_is_refused_at_signing_and_at_loading(hub, changes):
    document = after(hub.chain, **changes)
    assert code_of(sign_trust, document, [hub.root]) is Code.ENV_TTL
    assert code_of(hub.chain.update, [unchecked(document, hub.root)]) is Code.ENV_TTL


def test_a_key_that_is_never_valid_is_refused_at_signing_and_at_loading(hub):
    root, *others = hub.chain.document.keys
    document = after(hub.chain, keys=(root, *(replace(key, naf=key.nbf) for key in others)))
    assert code_of(sign_trust, document, [hub.root]) is Code.ENV_TTL
    assert code_of(hub.chain.update, [unchecked(document, hub.root)]) is Code.ENV_TTL


def test_a_document_of_another_hub_signed_by_our_root_is_refused(hub):
    assert code_of(hub.chain.update, [unchecked(after(hub.chain, hub="ee" * 16), hub.root)]) is Code.ENV_ISS
