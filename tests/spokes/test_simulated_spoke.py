"""The spoke that the bench uses answers like a real one, and many jobs at once are journaled in few commits."""

from tests.fakes.simulated_spoke import SimulatedSpoke


def test_a_simulated_spoke_answers_a_thousand_jobs(world):
    spoke = SimulatedSpoke(world.home, world.connection())
    spoke.start()
    world.end.wait_live(world.home.spoke_id)
    sent = [world.run() for _ in range(1000)]
    world.end.wait(lambda: all(world.end.results[one.cid] for one in sent), "all results", 60)
    spoke.stop()
    assert {world.end.results[one.cid][0].state for one in sent} == {"succeeded"}
    assert all(len(world.end.results[one.cid]) == 1 for one in sent)
