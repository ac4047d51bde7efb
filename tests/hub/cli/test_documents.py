"""A project file is read with the line of each value, and every fault names file, line and what was expected."""

import re
from pathlib import Path

import pytest

from hub.cli.client.documents import read_documents
from hub.cli.ending import CommandFailed

FAULTS = [
    ("kind: Environment\nname: [1\n", r":3: expected ',' or ']'"),
    ("kind: Environment\n---\n- 1\n", r":3: expected {2}kind: …"),
    ("kind: x\nname: a\nkind: y\n", r":3: 'kind' stands here a second time"),
    ("kind: !!python/object:os.system x\n", r":1: the tag .* is refused"),
    ("kind: !include /etc/passwd\n", r":1: the tag '!include' is refused"),
    ("kind: x\n  name: y\n", r":2: mapping values are not allowed here"),
    ("kind: x\n? [a, b]\n: c\n", r":2: a key must be a word"),
    (
        "kind: Project\nvariables:\n  - {name: T, value_from_env: NOT_SET_ANYWHERE}\n",
        r":3: NOT_SET_ANYWHERE is not set",
    ),
]


def read(tmp_path: Path, text: str):
    file = tmp_path / "manyarm.yaml"
    file.write_text(text)
    return read_documents(file)


@pytest.mark.parametrize(("text", "words"), FAULTS)
def test_a_fault_names_its_place(tmp_path, text, words):
    with pytest.raises(CommandFailed) as caught:
        read(tmp_path, text)
    assert re.search(r"manyarm\.yaml" + words, caught.value.message)
    assert caught.value.exit_code == 2


def test_each_value_has_its_line_under_its_pointer(tmp_path):
    documents, lines = read(tmp_path, "kind: Project\nname: A\nprocess:\n  - name: one\n    a/b~c: 2\n---\nkind: B\n")
    assert documents == [{"kind": "Project", "name": "A", "process": [{"name": "one", "a/b~c": 2}]}, {"kind": "B"}]
    assert lines[0]["/process/0/a~1b~0c"] == 5
    assert lines[1][""] == 7


def test_empty_documents_are_passed_over(tmp_path):
    documents, lines = read(tmp_path, "---\n# nothing\n---\nkind: A\n---\n")
    assert documents == [{"kind": "A"}]
    assert lines[0]["/kind"] == 4


def test_a_value_from_the_environment_is_filled_in_here(tmp_path, monkeypatch):
    monkeypatch.setenv("DEMO_TOKEN", "s3cret")
    documents, _ = read(
        tmp_path, "kind: Project\nvariables:\n  - {name: T, secret: true, value_from_env: DEMO_TOKEN}\n"
    )
    assert documents[0]["variables"] == [{"name": "T", "secret": True, "value": "s3cret"}]


def test_aliases_that_multiply_are_refused(tmp_path):
    text = "kind: x\na: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
    )
    with pytest.raises(CommandFailed, match="aliases that multiply"):
        read(tmp_path, text)


def test_words_that_yaml_1_1_took_for_truth_stay_words(tmp_path):
    documents, _ = read(tmp_path, "kind: x\nno: no\non: 2026-11-23\n")
    assert documents == [{"kind": "x", "no": "no", "on": "2026-11-23"}]


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path):
    with pytest.raises(CommandFailed, match="cannot be read"):
        read_documents(tmp_path / "none.yaml")
    (tmp_path / "b").write_bytes(b"kind: \xff")
    with pytest.raises(CommandFailed, match="byte 6 is no UTF-8"):
        read_documents(tmp_path / "b")
