"""Waiting for a file that matters: the kernel's word for it, and none for its neighbours."""

import os
import select
import threading

import pytest

from spokes.agent.notice import FolderNotice


@pytest.fixture
def notice(tmp_path):
    made = FolderNotice(tmp_path, ("output", "outcome.json"))
    assert made._inotify is not None
    yield made
    made.close()


def there_is_news(notice):
    return bool(select.select([notice._inotify], [], [], 10)[0])


def test_a_neighbour_of_what_matters_changes_without_a_word(notice, tmp_path):
    (tmp_path / "reserve").write_bytes(b"x")
    assert there_is_news(notice)
    assert not notice._heard()
    (tmp_path / "output.part").write_bytes(b"x")
    assert there_is_news(notice)
    assert not notice._heard()


def test_what_matters_is_heard_among_its_neighbours(notice, tmp_path):
    for name in ("reserve", ".outcome.json.part", "output"):
        (tmp_path / name).write_bytes(b"x")
    assert notice._heard()
    (tmp_path / ".outcome.json.part").rename(tmp_path / "outcome.json")
    assert notice._heard()
    assert not notice._heard()


def test_who_waits_sleeps_through_neighbours_and_wakes_for_what_matters(notice, tmp_path):
    waiting = threading.Thread(target=notice.wait, args=(60,), daemon=True)
    waiting.start()
    (tmp_path / "reserve").write_bytes(b"x")
    waiting.join(0.2)
    assert waiting.is_alive()
    (tmp_path / "output").write_bytes(b"x")
    waiting.join(30)
    assert not waiting.is_alive()


def test_the_end_of_a_process_wakes_too(notice):
    pid = os.fork()
    if not pid:
        os._exit(0)
    notice.add_process(os.pidfd_open(pid))
    os.waitpid(pid, 0)
    notice.wait(60)
    assert notice.process_ended()
