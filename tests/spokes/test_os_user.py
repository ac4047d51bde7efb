"""A home is given to another OS user only where it is one."""

import os

import pytest

from spokes.agent.errors import HomeUnsafe
from spokes.agent.os_user import OsUser, give_home

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")

NOBODY = OsUser("nobody", 65_534, 65_534)


def test_a_folder_with_other_things_in_it_is_not_given_away(tmp_path):
    home = tmp_path / "srv"
    home.mkdir()
    (home / "a-site").touch()
    with pytest.raises(HomeUnsafe, match="other things"):
        give_home(home, NOBODY)
    assert home.stat().st_uid == 0


@pytest.mark.parametrize("names", [(), ("join",), ("join", "identity", "jobs")])
def test_a_new_home_and_one_that_root_has_used_are(tmp_path, names):
    home = tmp_path / "local"
    home.mkdir()
    for name in names:
        (home / name).touch()
    give_home(home, NOBODY)
    assert (home.stat().st_uid, home.stat().st_mode & 0o777) == (65_534, 0o700)
