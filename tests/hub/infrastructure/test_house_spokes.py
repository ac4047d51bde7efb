"""The spokes beside the hub join by themselves, once, and are followed by others where their home was emptied."""

import stat

import pytest

from hub.infrastructure.house_spokes import HouseHome, HouseParts, HouseSpokes, house_spoke, stands_here
from hub.infrastructure.spokes import revoke_spoke
from hub.states import SpokeKind, SpokeState, TargetKind
from hub.storage.database import write_tx
from hub.storage.hub_trust import installation
from hub.storage.models import JoinToken, Spoke, Target
from tests.fakes.enrolling import Machine
from tests.fakes.installed_hub import Person
from wire.join_code import JoinCode

GATEWAY = "127.0.0.1:8443"


class House:
    """One hub's house spokes, and the processes that would read the codes."""

    def __init__(self, hub, enrolling, folder, *kinds):
        self.hub, self.enrolling, self.folder = hub, enrolling, folder
        self.homes = [HouseHome(kind, folder / str(kind), folder / str(kind) / "join") for kind in kinds]
        self.later_ms = 0
        self.start()

    def start(self):
        """As an engine does that starts."""
        self.spokes = HouseSpokes(
            HouseParts(self.homes, self.acting, lambda: bytes.fromhex(installation().root_thumbprint), GATEWAY)
        )
        self.spokes.sweep()

    def acting(self, name):
        acting = self.hub.acting(self.hub.acting().now_ms + self.later_ms)
        acting.caller = Person(name)
        return acting

    def code(self, home):
        return home.join_file.read_text().strip()

    def join(self, home, name="hub"):
        """What the process does with the code that it finds."""

        class Found:
            code = type("Text", (), {"reveal": lambda _: self.code(home)})()

        self.enrolling.take(Machine(self.hub, name).frame(Found, kind=str(home.kind)))
        (home.root / "identity").mkdir(parents=True, exist_ok=True)
        (home.root / "identity" / "spoke.json").write_text("{}")
        self.spokes.sweep()

    def empty(self, home):
        (home.root / "identity" / "spoke.json").unlink()


@pytest.fixture
def house(hub, enrolling, tmp_path):
    return House(hub, enrolling, tmp_path / "spokes", SpokeKind.LOCAL)


def test_a_new_house_spoke_finds_a_private_code_for_its_kind_and_name(house):
    home = house.homes[0]
    assert stat.S_IMODE(home.join_file.stat().st_mode) == 0o600
    code = JoinCode.parse(house.code(home))
    token = JoinToken.get_by_id(code.token_id.hex())
    assert (code.address, token.role, token.name_pattern, str(token.approve)) == (GATEWAY, "local", "hub", "auto")
    house.hub.seals.check(token)


def test_what_a_script_puts_in_the_place_of_one_code_does_not_keep_the_others_from_theirs(hub, enrolling, tmp_path):
    (tmp_path / "local" / "join" / "in-the-way").mkdir(parents=True)
    house = House(hub, enrolling, tmp_path, SpokeKind.LOCAL, SpokeKind.SSH)
    assert JoinCode.parse(house.code(house.homes[1]))


def test_it_joins_by_itself_and_serves_the_target_hub(house):
    home = house.homes[0]
    house.join(home)
    spoke = house_spoke(home)
    assert (spoke.state, spoke.kind) == (SpokeState.TRUSTED, SpokeKind.LOCAL)
    assert (Target.get().name, Target.get().kind, Target.get().spoke) == ("hub", TargetKind.LOCAL, spoke.id)
    assert stands_here(spoke, house.homes)
    assert not home.join_file.exists()


def test_the_code_of_a_house_spoke_lets_nobody_else_in(house):
    home = house.homes[0]

    class Found:
        code = type("Text", (), {"reveal": lambda _: house.code(home)})()

    house.enrolling.take(Machine(house.hub, "hub").frame(Found, kind="polling"))
    house.enrolling.take(Machine(house.hub, "web-1").frame(Found, kind="local"))
    assert Spoke.select().count() == 0
    assert house.enrolling.refusals() == ["JOIN_SCOPE", "JOIN_SCOPE"]


def test_a_code_stays_as_long_as_it_is_good_and_is_renewed_before_it_ends(house):
    home = house.homes[0]
    first = house.code(home)
    house.spokes.sweep()
    assert house.code(home) == first
    house.later_ms = 29 * 60_000 + 30_000
    house.spokes.sweep()
    assert house.code(home) != first
    assert JoinToken.select().count() == 1


def test_a_code_that_was_taken_away_is_left_anew(house):
    house.homes[0].join_file.unlink()
    house.spokes.sweep()
    assert house.homes[0].join_file.exists()
    assert JoinToken.select().count() == 1


def test_a_spoke_whose_home_was_emptied_is_revoked_and_its_successor_takes_its_targets(house):
    home = house.homes[0]
    house.join(home)
    before = house_spoke(home)
    with write_tx():
        cloud = Target(name="assets", kind=TargetKind.CLOUD, spoke=before.id, roles=[])
        house.hub.seals.seal(cloud)
        cloud.save(force_insert=True)
    house.empty(home)
    house.start()
    assert Spoke.get_by_id(before.id).state == SpokeState.REVOKED
    house.join(home)
    after = house_spoke(home)
    assert after.id != before.id
    served = {row.name: row for row in Target.select()}
    assert {name: row.spoke for name, row in served.items()} == {"hub": after.id, "assets": after.id}
    for row in served.values():
        house.hub.seals.check(row)


def test_a_home_that_is_emptied_while_the_hub_runs_is_not_acted_upon(house):
    home = house.homes[0]
    house.join(home)
    house.empty(home)
    house.spokes.sweep()
    assert house_spoke(home).state == SpokeState.TRUSTED


def test_one_that_a_person_revoked_stays_so_until_its_home_is_emptied(house):
    home = house.homes[0]
    house.join(home)
    with write_tx():
        revoke_spoke(house.hub.acting(), house_spoke(home).id)
    house.start()
    assert not home.join_file.exists()
    house.empty(home)
    house.start()
    assert home.join_file.exists()


def test_another_nodes_house_spoke_is_left_alone(house, hub, enrolling, tmp_path):
    house.join(house.homes[0])
    other = House(hub, enrolling, tmp_path / "elsewhere", SpokeKind.LOCAL)
    assert house_spoke(house.homes[0]).state == SpokeState.TRUSTED
    assert house_spoke(other.homes[0]) is None
    assert not stands_here(house_spoke(house.homes[0]), other.homes)
