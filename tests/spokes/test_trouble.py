"""What the machine does to a spoke: a disk that takes nothing for a while, a daemon that is told to go at a bad moment."""


def folder_of(world, cid):
    return world.home.root / "jobs" / cid


def test_a_place_that_cannot_be_remembered_does_not_cost_the_run(world):
    with world.serving():
        sent = world.run("for i in $(seq 1 15); do echo line $i; sleep 0.1; done")
        world.end.ack(sent.cid)
        # A folder where the file must be is as good as a full disk: the rename fails.
        (folder_of(world, sent.cid) / "shipped" / "in the way").mkdir(parents=True)
        assert world.end.result(sent.cid).state == "succeeded"
        assert world.end.whole_log(sent.cid).count(b"line") == 15
