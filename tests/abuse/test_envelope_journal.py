"""What a broker may do with honest frames: repeat, delay, keep for tomorrow. The journal answers; nothing runs twice."""

import threading
from dataclasses import replace

import pytest

from spokes.agent.home import SpokeHome
from spokes.agent.journal import Journal, State
from tests.fakes.memory import MemoryConnection
from tests.fakes.spoke_world import spoke_world
from wire.connection import Outgoing
from wire.envelope import MessageType
from wire.errors import Code
from wire.keys import new_id
from wire.messages import Limits
from wire.topology import COMMANDS, HUB_USER


@pytest.fixture
def world(tmp_path):
    with spoke_world(tmp_path) as world:
        yield world


@pytest.fixture
def witness(tmp_path):
    return tmp_path / "witness"


def starts(witness) -> int:
    return witness.read_text().count("ran") if witness.exists() else 0


def deliver(world, frame: bytes) -> None:
    world.end.publish(world.home.spoke_id, frame)


def journaled(world, cid: str):
    journal = Journal(SpokeHome(world.home.root).journal)
    try:
        return journal.entry(cid)
    finally:
        journal.close()


def honest_job_still_runs(world) -> None:
    assert world.end.result(world.run("true").cid).state == "succeeded"


def test_t005_a_frame_for_another_spoke_leaves_no_row_and_no_run(world, witness):
    with world.serving():
        other = new_id()
        command = world.job(f"echo ran >> {witness}")
        world.end.wait_live(world.home.spoke_id)
        sealed = world.end.sealed(world.home.spoke_id, command, spoke_id=other)
        deliver(world, sealed.frame)
        honest_job_still_runs(world)
        assert starts(witness) == 0
        assert not world.end.rejects
    assert journaled(world, command.cid) is None


def test_t006_the_same_frame_twice_runs_once_and_is_answered_with_the_stored_result(world, witness):
    with world.serving():
        sent = world.run(f"echo ran >> {witness}; set_variable Answer 42")
        first = world.end.result(sent.cid)
        deliver(world, sent.frame)
        world.end.wait(lambda: len(world.end.results[sent.cid]) == 2, "the stored result")
        second = world.end.results[sent.cid][1]
        assert second == first
        assert starts(witness) == 1
        assert [ack.state for ack in world.end.acks[sent.cid]] == ["accepted", "known"]


def test_t006_the_same_job_under_a_new_message_is_answered_for_that_message(world, witness):
    with world.serving():
        command = world.job(f"echo ran >> {witness}")
        world.end.command(world.home.spoke_id, command)
        world.end.result(command.cid)
        again = world.end.command(world.home.spoke_id, command)
        world.end.wait(lambda: len(world.end.results[command.cid]) == 2, "the stored result")
        assert world.end.answers[command.cid][-1].header.rh == again.sha256
        assert starts(witness) == 1


def test_t006_another_job_under_a_known_id_is_refused(world, witness):
    with world.serving():
        command = world.job(f"echo ran >> {witness}")
        world.end.command(world.home.spoke_id, command)
        world.end.result(command.cid)
        other = world.job(f"echo ran >> {witness}; true", cid=command.cid)
        sent = world.end.command(world.home.spoke_id, other)
        assert world.end.reject(sent.mid).code == Code.ENV_REPLAY
        honest_job_still_runs(world)
        assert starts(witness) == 1


def test_t007_a_frame_of_the_former_daemons_session_is_not_run(world, witness):
    with world.serving():
        recorded = world.end.sealed(world.home.spoke_id, world.job(f"echo ran >> {witness}"))
        honest_job_still_runs(world)
    with world.serving():
        world.end.wait_live(world.home.spoke_id)
        deliver(world, recorded.frame)
        assert world.end.reject(recorded.mid).code == Code.ENV_SESSION
        honest_job_still_runs(world)
    assert starts(witness) == 0


def test_t007_a_frame_of_yesterday_is_not_run_though_its_row_is_forgotten(world, witness):
    with world.serving():
        sent = world.run(f"echo ran >> {witness}")
        world.end.result(sent.cid)
        world.end.wait(lambda: not world.end.spokes[world.home.spoke_id].beats[-1].jobs, "rest")
    SpokeHome(world.home.root).journal.unlink()
    with world.serving():
        world.end.wait_live(world.home.spoke_id)
        deliver(world, sent.frame)
        assert world.end.reject(sent.mid).code == Code.ENV_SESSION
        honest_job_still_runs(world)
    assert starts(witness) == 1


def test_t007_a_frame_of_yesterday_whose_job_is_known_is_answered_as_such_and_not_as_refused(world, witness):
    """The hub takes a job of which every frame was refused for one that never began."""
    with world.serving():
        sent = world.run(f"echo ran >> {witness}")
        assert world.end.result(sent.cid).state == "succeeded"
    with world.serving():
        world.end.wait_live(world.home.spoke_id)
        world.end.answers.clear()
        deliver(world, sent.frame)
        world.end.wait(lambda: len(world.end.answers[sent.cid]) >= 2, "both answers")
        said = {type(answer.body).__name__: answer for answer in world.end.answers[sent.cid]}
        assert said["Ack"].body.state == "known"
        assert said["Result"].body.state == "succeeded"
        honest_job_still_runs(world)
        assert sent.mid not in {reject.mid for reject in world.end.rejects}
    assert starts(witness) == 1


def test_t009_a_frame_past_its_expiry_is_refused(world, witness):
    with world.serving():
        command = world.job(f"echo ran >> {witness}")
        sent = world.end.command(world.home.spoke_id, command, now_s=world.end.now - 1000)
        assert world.end.reject(sent.mid).code == Code.ENV_EXPIRED
        honest_job_still_runs(world)
    assert starts(witness) == 0
    assert journaled(world, command.cid) is None


def test_t009_a_job_accepted_in_time_and_not_started_expires_and_says_so(world, witness):
    with world.serving():
        command = world.job(f"echo ran >> {witness}", not_before=world.end.now + 3)
        sent = world.end.command(world.home.spoke_id, command, ttl_s=2)
        assert world.end.ack(sent.cid).state == "accepted"
        assert world.end.result(sent.cid).state == "expired"
    assert starts(witness) == 0
    assert journaled(world, sent.cid).state is State.EXPIRED


def test_t009_a_job_that_expired_while_the_machine_was_down_is_not_resumed(world, witness):
    with world.serving():
        command = world.job(f"echo ran >> {witness}", not_before=world.end.now + 600)
        sent = world.end.command(world.home.spoke_id, command)
        assert world.end.ack(sent.cid).state == "accepted"
    world.hub.now += 1000
    with world.serving():
        assert world.end.result(sent.cid).state == "expired"
        honest_job_still_runs(world)
    assert starts(witness) == 0


def test_t031_a_body_that_breaks_the_schema_starts_nothing(world, witness):
    with world.serving():
        command = world.job(f"echo ran >> {witness}", limits=Limits(1, 1, 1, 1))
        world.end.wait_live(world.home.spoke_id)
        frame = _with_negative_limits(world, command)
        deliver(world, frame)
        world.end.wait(lambda: any(one.code == Code.ENV_OP for one in world.end.rejects), "a reject")
        honest_job_still_runs(world)
    assert starts(witness) == 0
    assert journaled(world, command.cid) is None


def test_t031_running_as_another_user_is_refused_by_the_machines_policy(world, witness):
    with world.serving():
        sent = world.run(f"echo ran >> {witness}", run_as="root")
        assert world.end.reject(sent.mid).code == Code.ENV_POLICY
        honest_job_still_runs(world)
    assert starts(witness) == 0
    assert journaled(world, sent.cid) is None


@pytest.mark.parametrize("op", ["scan_host_key"])
def test_t031_an_op_that_this_kind_does_not_do_is_refused(world, op):
    with world.serving():
        sent = world.end.command(world.home.spoke_id, replace(world.job(), op=op, packages=()))
        assert world.end.reject(sent.mid).code == Code.ENV_OP
        honest_job_still_runs(world)


def test_t035_two_hundred_deliveries_of_one_frame_over_eight_connections_run_once(world, witness):
    with world.serving():
        command = world.job(f"echo ran >> {witness}; sleep 0.3")
        world.end.wait_live(world.home.spoke_id)
        frame = world.end.sealed(world.home.spoke_id, command).frame
        connections = [MemoryConnection(world.broker, HUB_USER) for _ in range(8)]

        def flood(connection):
            for _ in range(25):
                connection.publish(Outgoing(COMMANDS, world.home.spoke_id, frame)).result(30)

        threads = [threading.Thread(target=flood, args=(connection,)) for connection in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        world.end.wait(lambda: len(world.end.acks[command.cid]) == 200, "an answer to each")
        assert world.end.result(command.cid).state == "succeeded"
        assert [ack.state for ack in world.end.acks[command.cid]].count("accepted") == 1
    assert starts(witness) == 1


def test_t035_threads_that_journal_one_job_at_once_hear_of_one_that_is_new(tmp_path):
    from tests.spokes.test_journal import arrival

    journal = Journal(tmp_path / "journal.db")
    one = arrival()
    verdicts: list[str] = []
    threads = [threading.Thread(target=lambda: verdicts.append(journal.accept([one])[0][0])) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (verdicts.count("new"), verdicts.count("known")) == (1, 39)
    journal.close()


def test_t040_garbage_in_the_mailbox_is_kept_for_a_look_and_answered_with_silence(world):
    with world.serving():
        world.end.wait_live(world.home.spoke_id)
        honest = world.end.sealed(world.home.spoke_id, world.job()).frame
        for number in range(300):
            at = number % len(honest)
            deliver(world, honest[:at] + bytes([honest[at] ^ 1]) + honest[at + 1 :])
        deliver(world, b"")
        deliver(world, b"\0" * 100_000)
        honest_job_still_runs(world)
        assert not world.end.rejects
        kept = list((world.home.root / "quarantine").iterdir())
        assert len(kept) == 100
        assert max(path.stat().st_size for path in kept) <= 4096


def _with_negative_limits(world, command) -> bytes:
    """What an honest sender's own checks would not let out."""
    from wire import canonical, envelope, schema
    from wire.envelope import Header

    spoke = world.end.spokes[world.home.spoke_id]
    spoke.seq += 1
    body = schema.write_object(command)
    body["limits"] = {"cpu_s": -1, "wall_s": 1, "out_bytes": 1, "disk_bytes": 1}
    now = world.end.now
    header = Header(
        aud=spoke.spoke_id,
        iss=world.hub.hub_id,
        mid=new_id(),
        cid=command.cid,
        ses=spoke.nonce,
        seq=spoke.seq,
        epo=1,
        iat=now,
        exp=now + 900,
    )
    return envelope.seal(
        MessageType.COMMAND, header, canonical.encode(body), signer=world.hub.command, recipient=spoke.box
    )
