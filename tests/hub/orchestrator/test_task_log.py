import pytest

from hub.orchestrator import task_log
from hub.orchestrator.task_log import Lines, append, read
from hub.states import TaskKind
from hub.storage.database import write_tx
from hub.storage.models import LogBlock, Task


@pytest.fixture
def task(installed_hub_on_each):
    with write_tx():
        return Task.create(kind=TaskKind.SCRIPT_RUN, title="t")


@pytest.fixture
def vault(installed_hub_on_each):
    return installed_hub_on_each.vault


def write(vault, task, texts, step="", target="", level="stdout"):
    with write_tx():
        append(vault, [Lines(task.id, list(range(len(texts))), [level] * len(texts), texts, step, target)])


def test_lines_are_numbered_from_one_without_holes_and_read_on_from_any_of_them(vault, task):
    write(vault, task, ["a", "b", "c"])
    write(vault, task, ["d", "e"])
    lines, following = read(vault, task.id)
    assert [(line.seq, line.text) for line in lines] == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]
    assert following is None
    lines, following = read(vault, task.id, after=1, limit=2)
    assert ([line.text for line in lines], following) == (["b", "c"], 3)
    assert [line.text for line in read(vault, task.id, after=3)[0]] == ["d", "e"]
    assert read(vault, task.id, after=5) == ([], None)
    assert task_log.last_line(task.id) == 5


def test_filters_choose_by_place_level_and_text(vault, task):
    write(vault, task, ["begin"], level="info")
    write(vault, task, ["One", "two"], step="build", target="web-01")
    write(vault, task, ["one again"], step="build", target="web-02", level="stderr")
    assert [line.text for line in read(vault, task.id, step="build")[0]] == ["One", "two", "one again"]
    assert [line.text for line in read(vault, task.id, target="web-02")[0]] == ["one again"]
    assert [line.text for line in read(vault, task.id, level="info")[0]] == ["begin"]
    assert [line.text for line in read(vault, task.id, q="ONE")[0]] == ["One", "one again"]


def test_long_output_is_cut_into_blocks_and_comes_back_whole(vault, task, monkeypatch):
    monkeypatch.setattr(task_log, "BLOCK_LINES_MAX", 10)
    texts = [f"line {number}" for number in range(95)]
    write(vault, task, texts)
    assert LogBlock.select().where(LogBlock.task == task.id).count() == 10
    found, after = [], 0
    while True:
        lines, following = read(vault, task.id, after=after, limit=7)
        found += [line.text for line in lines]
        if following is None:
            break
        after = following
    assert found == texts


def test_a_block_is_sealed_and_bound_to_its_task(vault, task):
    write(vault, task, ["a secret word"])
    block = LogBlock.get(LogBlock.task == task.id)
    assert b"secret" not in block.sealed
    with write_tx():
        other = Task.create(kind=TaskKind.SCRIPT_RUN, title="other")
        LogBlock.update(task=other.id).where(LogBlock.id == block.id).execute()
    with pytest.raises(Exception, match="altered or belongs elsewhere"):
        read(vault, other.id)


def test_the_portal_reads_a_log_with_its_own_keys(installed_hub_on_each, vault, task):
    write(vault, task, ["hello"])
    portal = installed_hub_on_each.vault_of("portal")
    assert [line.text for line in read(portal, task.id)[0]] == ["hello"]


def test_any_text_is_kept_even_nul_and_lone_surrogates(vault, task):
    write(vault, task, ["nul \0 here", "\x1b[31mred", "öäü 😀"])
    assert [line.text for line in read(vault, task.id)[0]] == ["nul \0 here", "\x1b[31mred", "öäü 😀"]
