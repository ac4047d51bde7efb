"""Several frames as one body."""

import pytest

from wire.errors import Code, Refused
from wire.frame_list import join_frames, split_frames


@pytest.mark.parametrize("frames", [[], [b""], [b"one"], [b"one", b"", b"x" * 70_000]])
def test_frames_come_out_as_they_went_in(frames):
    assert list(split_frames(join_frames(frames))) == frames


@pytest.mark.parametrize("cut", range(1, 10))
def test_a_body_that_is_cut_off_is_refused(cut):
    body = join_frames([b"first", b"second"])
    with pytest.raises(Refused) as refused:
        list(split_frames(body[:-cut]))
    assert refused.value.code == Code.ENV_SHORT
