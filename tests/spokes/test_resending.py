"""Part of a log once more, at the hub's word: the very records that the run left, as long as they are kept."""

from types import SimpleNamespace

import pytest

from tests.fakes.hub_end import text_of
from tests.fakes.parties import command
from tests.fakes.spoke_world import spoke_world
from tests.fakes.ssh_world import ssh_world
from wire.errors import Nacked
from wire.keys import new_id
from wire.messages import Op

# Each line is a record of its own, for the supervisor writes what waits after 50 ms.
SCRIPT = "for i in $(seq 1 12); do echo line $i; sleep 0.08; done"


def on_this_machine(folder, _):
    return spoke_world(folder)


def over_ssh(folder, request):
    return ssh_world(folder, request.getfixturevalue("sshd_server"))


@pytest.fixture(scope="module", params=[on_this_machine, over_ssh])
def ended(request, tmp_path_factory):
    """A run that has ended, its whole log at the hub: `ask(*spans)` is the result of asking for it again."""
    folder = tmp_path_factory.mktemp("spoke")
    with request.param(folder, request) as world, world.serving() as daemon:
        sent = world.run(SCRIPT)
        world.end.whole_log(sent.cid)
        spool = world.end.spool(sent.cid)

        def ask(*spans, cid=sent.cid):
            if hasattr(world, "endpoint"):
                named = {"endpoint": world.endpoint, "target": {"id": world.target, "name": "ssh-1"}}
                secrets = world.login
            else:
                named, secrets = {}, {}
            job = {"cid": cid, "spans": [list(span) for span in spans]} | named
            body = command(op=Op.SEND_LOG, job=job, packages=(), secrets=secrets, capability="")
            return world.end.result(world.end.command(world.home.spoke_id, body).cid)

        home = getattr(world, "target_home", None) or world.home.root
        folder = home / "jobs" / sent.cid
        yield SimpleNamespace(
            world=world, daemon=daemon, cid=sent.cid, records=world.end.result(sent.cid).records, spool=spool, ask=ask,
            folder=folder,
        )  # fmt: skip


@pytest.fixture
def ran(ended):
    """The same, nothing of it asked for again yet, its spool as the run left it."""
    ended.world.end.logs[ended.cid].clear()
    spool = ended.folder / "output"
    content = spool.read_bytes()
    yield ended
    spool.write_bytes(content)


def come(ran):
    """The records that came again: by number, with what they print."""
    return {first: (count, text_of(records)) for first, (count, _, records) in ran.world.end.logs[ran.cid].items()}


def test_the_whole_spool_comes_again_record_by_record_with_its_chain(ran):
    assert ran.records > 5
    said = ran.ask((0, ran.records - 1))
    assert (said.state, said.message) == ("succeeded", f"{ran.records} records were sent again")
    ran.world.end.wait(lambda: ran.world.end._spool_unlocked(ran.cid) == ran.spool, "the whole spool")


def test_only_what_was_asked_for_comes(ran):
    assert ran.ask((4, 5), (1, 2)).state == "succeeded"
    ran.world.end.wait(lambda: len(ran.world.end.logs[ran.cid]) == 2, "two parts")
    assert {first: count for first, (count, _) in come(ran).items()} == {1: 2, 4: 2}
    whole = text_of(ran.spool)
    assert all(text in whole for _, text in come(ran).values())


def test_a_spool_that_is_gone_is_said_to_be_gone(ran):
    (ran.folder / "output").unlink()
    said = ran.ask((0, 1))
    assert (said.state, said.message) == ("refused", "the spool of that run is not kept any more")
    assert ran.ask((0, 1), cid=new_id()).state == "refused"


def test_a_spool_that_was_altered_is_not_passed_on(ran):
    spool = ran.folder / "output"
    content = bytearray(spool.read_bytes())
    content[-40] ^= 1
    spool.write_bytes(content)
    said = ran.ask((0, ran.records - 1))
    assert said.state == "refused"
    assert "the spool is damaged: record" in said.message


def test_a_spool_that_is_shorter_than_what_was_asked_for_sends_what_it_has_and_says_where_it_ends(ran):
    said = ran.ask((ran.records - 1, ran.records + 5))
    assert (said.state, said.message) == ("refused", f"the spool ends before record {ran.records}")
    ran.world.end.wait(lambda: ran.records - 1 in ran.world.end.logs[ran.cid], "the last record")


@pytest.mark.parametrize("spans", [(), ((2, 1),), ((-1, 3),)], ids=["none", "backwards", "before the first"])
def test_what_names_no_records_is_refused(ran, spans):
    said = ran.ask(*spans)
    assert said.state == "failed"
    assert come(ran) == {}


def test_what_the_broker_does_not_take_is_no_success(ran, monkeypatch):
    publish = ran.world.broker.route

    def no_logs(message, user, **more):
        if ".log" in message.key:
            raise Nacked("full")
        return publish(message, user, **more)

    monkeypatch.setattr(ran.world.broker, "route", no_logs)
    said = ran.ask((0, 3))
    assert said.state == "failed"
    assert "could not be sent again" in said.message
