"""Where going back leads to, as a table of histories."""

import pytest

from hub.projects.rolling_back import Went, release_before

CASES = {
    "nothing was ever there": ("", None),
    "one release alone": ("1", None),
    "the one before": ("1 2", "1"),
    "the same again is not another": ("1 2 2", "1"),
    "back and back again leads on, not to and fro": ("1 2 3 <2", "1"),
    "back to the first leaves nothing": ("1 2 <1", None),
    "back over several": ("1 2 3 4 <2", "1"),
    "forward after back": ("1 2 <1 3", "1"),
    "what failed is gone over": ("1 2 !3", "2"),
    "what failed as the first": ("!1", None),
    "failed, and there before it": ("1 !2", "1"),
    "failed twice": ("1 2 !3 !3", "2"),
    "what is there failed when it was deployed again": ("1 2 !2", "1"),
    "mended by another": ("1 !2 3", "1"),
    "a way back that failed is tried again": ("1 2 !<1", "1"),
    "a way back that failed behind a failure": ("1 2 !3 !<2", "2"),
    "an old one deployed anew was not there before itself": ("1 2 3 1", "3"),
    "back to what is not known to have been there": ("2 <1", "2"),
}


def history(text):
    for word in text.split():
        yield Went(word.lstrip("!<"), succeeded="!" not in word, rollback="<" in word)


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_the_table_of_histories(text, expected):
    assert release_before(history(text)) == expected
