"""Attacks on the pages that need a portal of their own: another one in the process takes the database with it."""

import threading
import time
from dataclasses import replace

from hub.access.passwords import HashCost, Passwords
from tests.fakes.portal_hub import running_portal


def test_t129_a_crowd_at_the_door_is_hashed_four_at_a_time_and_the_rest_is_told_to_wait(tmp_path, monkeypatch):
    passwords = Passwords(HashCost(ops=1, memory_bytes=8192), at_once=4, wait_s=0.2)
    at_work, most, lock, gate = [0], [0], threading.Lock(), threading.Event()

    def slow(stored: bytes, given: bytes) -> bool:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        gate.wait(60)
        with lock:
            at_work[0] -= 1
        return False

    with running_portal(tmp_path, change=lambda parts: replace(parts, passwords=passwords)) as portal:
        portal.person("ann", "system-admin")
        monkeypatch.setattr("nacl.pwhash.argon2id.verify", slow)
        statuses: list[int] = []
        crowd = [
            threading.Thread(target=lambda n=n: statuses.append(portal.visitor().sign_in(f"one-{n}").status_code))
            for n in range(200)
        ]
        for thread in crowd:
            thread.start()
        # Four are at their hashes and stay there until everybody else has been sent away.
        end = time.monotonic() + 60
        while len(statuses) < 196 and time.monotonic() < end:
            time.sleep(0.05)
        gate.set()
        for thread in crowd:
            thread.join()
    assert most[0] == 4
    assert (statuses.count(429), statuses.count(401)) == (196, 4)
