"""Jobs on a target that is reached by SSH: whole runs over a real sshd, with the hub's end, gateway and broker in memory."""

import hashlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.fakes.ssh_world import ssh_world
from wire.messages import Op


@pytest.fixture
def world(tmp_path, sshd):
    with ssh_world(tmp_path, sshd) as world:
        yield world


def test_a_job_runs_on_the_target_and_says_how_it_ended(world):
    with world.serving():
        sent = world.run('echo "hello from $PWD"; exit 3')
        result = world.end.result(sent.cid)
        assert (result.state, result.exit_code) == ("failed", 3)
        assert str(world.target_home / "jobs" / sent.cid).encode() in world.end.whole_log(sent.cid)
