"""The runner's own `dataclasses` does what the standard library's does, as far as the runner uses it."""

import dataclasses
from typing import Any

import pytest

from runner import records

REAL_AND_OURS = pytest.mark.parametrize("of", [dataclasses, records], ids=["real", "ours"])


def shapes(of: Any) -> Any:
    @of.dataclass(frozen=True)
    class Point:
        x: int
        y: int = 2

    @of.dataclass(frozen=True)
    class Named(Point):
        name: str = "n"
        tags: tuple[str, ...] = ()

    @of.dataclass
    class Open:
        one: Point
        many: list[Any] = of.field(default_factory=list)
        late: int = of.field(default=7)
        hidden: str = of.field(default="h", repr=False, compare=False)

        def __post_init__(self) -> None:
            self.made = True

    return Point, Named, Open


@REAL_AND_OURS
def test_values_defaults_and_factories_become_fields(of):
    point, named, opened = shapes(of)
    assert (point(1).x, point(1).y, point(y=5, x=4).y) == (1, 2, 5)
    assert (named(1, name="m").y, named(1, 3, "m", ("t",)).tags) == (2, ("t",))
    first, second = opened(point(1)), opened(point(1))
    first.many.append(1)
    assert (second.many, second.late, second.made) == ([], 7, True)
    assert [one.name for one in of.fields(named)] == ["x", "y", "name", "tags"]


@REAL_AND_OURS
def test_equality_hash_and_look_are_those_of_the_fields(of):
    point, named, opened = shapes(of)
    assert point(1, 2) == point(1)
    assert point(1) != point(2)
    assert point(1) != named(1)
    assert len({point(1), point(1, 2), point(3)}) == 2
    assert opened(1, hidden="a") == opened(1, hidden="b")
    assert "hidden" not in repr(opened(1))
    assert repr(named(1)).endswith("Named(x=1, y=2, name='n', tags=())")
    with pytest.raises(TypeError, match="unhashable"):
        hash(opened(point(1)))


@REAL_AND_OURS
def test_what_is_frozen_cannot_be_changed(of):
    point, _, opened = shapes(of)
    one = point(1)
    with pytest.raises(of.FrozenInstanceError):
        one.x = 3
    with pytest.raises(of.FrozenInstanceError):
        del one.x
    free = opened(one)
    free.late = 8
    assert (one.x, free.late) == (1, 8)


@REAL_AND_OURS
@pytest.mark.parametrize(("values", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"x": 1})])
def test_too_few_too_many_and_unknown_values_are_refused(of, values, named):
    with pytest.raises(TypeError):
        shapes(of)[0](*values, **named)


@REAL_AND_OURS
def test_a_class_may_have_slots(of):
    @of.dataclass(frozen=True)
    class Small:
        __slots__ = ("a", "b")

        a: int
        b: str

    assert (Small(1, "x").b, Small(1, b="x") == Small(1, "x")) == ("x", True)
    assert not hasattr(Small(1, "x"), "__dict__")
    with pytest.raises(TypeError):
        Small(1)


@REAL_AND_OURS
def test_replace_and_asdict_go_by_the_fields(of):
    point, named, opened = shapes(of)
    assert of.replace(named(1), name="other") == named(1, 2, "other")
    assert of.asdict(opened(point(1), [point(3), {"a": (point(4),)}])) == {
        "one": {"x": 1, "y": 2},
        "many": [{"x": 3, "y": 2}, {"a": ({"x": 4, "y": 2},)}],
        "late": 7,
        "hidden": "h",
    }
