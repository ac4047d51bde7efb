"""Whose turn it is: tables of single choices, and long histories in which nobody may starve, lock up or be passed by."""

import random
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.orchestrator.admission import Asked, Begun, Pause, Rules, admit, blocks, circle, lineage, why_queued
from hub.states import Priority

CASES = tomllib.loads((Path(__file__).parent / "cases/admission.toml").read_text())["case"]
PATIENCE_MS = 600_000


def rules_of(case):
    return Rules(
        hub_cap=case.get("hub", 100),
        project_cap=case.get("project", 100),
        project_caps=case.get("caps", {}),
        pauses=[Pause(since_ms=pause.pop("since_s") * 1000, **pause) for pause in map(dict, case.get("paused", []))],
        patience_ms=PATIENCE_MS,
    )


def words(text):
    task, project, *rest = text.split()
    found = dict(word.split("=", 1) for word in rest if "=" in word)
    priority = next((word for word in rest if word.isalpha()), "normal")
    since = next((word[1:] for word in rest if word.startswith("@")), "0")
    return task, "" if project == "-" else project, found, Priority[priority.upper()], int(since) * 1000


def asked(text):
    task, project, found, priority, since_ms = words(text)
    environments = frozenset(found.get("env", "").split(",")) - {""}
    return Asked(
        task, f"Deploy {task}", since_ms, project, project, environments, found.get("key", ""), priority,
        found.get("parent", ""),
    )  # fmt: skip


def begun(text):
    task, project, found, _, _ = words(text)
    return Begun(task, f"Deploy {task}", project, found.get("key", ""), found.get("parent", ""))


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case["name"]))
def test_whose_turn_it_is(case):
    waiting, inside = [asked(text) for text in case["asked"]], [begun(text) for text in case.get("begun", [])]
    turns = {(project, priority): at for _, project, _, priority, at in map(words, _lines(case.get("turns", [])))}
    chosen = admit(waiting, inside, rules_of(case), turns, case.get("now_s", 1000) * 1000)
    assert [one.task for one in chosen] == case["goes"]
    left = [one for one in waiting if one not in chosen]
    assert set(blocks(left, inside, rules_of(case))) == {one.task for one in left}
    for task, sentence in case.get("why", {}).items():
        assert blocks(left, inside, rules_of(case))[task].sentence == sentence


def _lines(turns):
    return [f"x {text}" for text in turns]


def test_a_child_that_would_wait_for_whoever_waits_for_its_parent_is_found_out():
    inside = [begun("p1 P key=~a"), begun("p2 Q key=~b")]
    first = asked("c1 R key=~b parent=p1")
    assert circle(first, inside, []) == ""
    assert circle(asked("c2 S key=~a parent=p2"), inside, [first]) == "Deploy p1"


def test_a_circle_may_be_long():
    inside = [begun(f"p{n} P{n} key=~{n}") for n in range(4)]
    waiting = [asked(f"c{n} Q key=~{n + 1} parent=p{n}") for n in range(3)]
    assert circle(asked("c3 Q key=~0 parent=p3"), inside, waiting) == "Deploy p0"
    assert circle(asked("c3 Q key=~9 parent=p3"), inside, waiting) == ""


def test_a_circle_goes_through_children_that_have_begun():
    inside = [begun("p1 P key=~a"), begun("p2 Q"), begun("c Q key=~b parent=p2")]
    waiting = [asked("d R key=~a parent=c")]
    assert circle(asked("e S key=~b parent=p1"), inside, waiting) == "Deploy c"


def test_parents_are_known_as_long_as_they_run():
    inside = [begun("a P"), begun("b P parent=a"), begun("c P parent=b")]
    assert lineage("c", inside) == {"a", "b", "c"}
    assert lineage("gone", inside) == frozenset()


@dataclass
class House:
    """A hub's queue through time: tasks that last as they like, and some that ask for another and wait for it."""

    rules: Rules
    chance: random.Random
    now_ms: int = 1
    waiting: dict[str, Asked] = field(default_factory=dict)
    inside: dict[str, Begun] = field(default_factory=dict)
    turns: dict = field(default_factory=dict)
    left_ms: dict[str, int] = field(default_factory=dict)
    nested: dict[str, list[Asked]] = field(default_factory=dict)
    waited: dict = field(default_factory=dict)
    refused: int = 0
    done: int = 0

    def ask(self, one, lasts_ms, children=()):
        self.waiting[one.task] = one
        self.left_ms[one.task] = lasts_ms
        self.nested[one.task] = list(children)

    def step(self):
        """Let in who may, check what must hold, then let time pass until something ends."""
        chosen = admit(self.waiting.values(), self.inside.values(), self.rules, self.turns, self.now_ms)
        for one in chosen:
            self.inside[one.task] = Begun(one.task, one.title, one.project, one.key, one.parent)
            del self.waiting[one.task]
            self.turns[one.line] = self.now_ms
        self.check()
        self.pass_time()

    def check(self):
        taken = self.taken()
        assert taken.total() <= self.rules.hub_cap
        for project, count in taken.items():
            assert count <= self.rules.cap_of(project), project
        keyed = [one for one in self.inside.values() if one.key]
        for one in keyed:
            others = [other for other in keyed if other.key == one.key and other.task != one.task]
            family = lineage(one.task, self.inside.values())
            assert all(
                other.task in family or one.task in lineage(other.task, self.inside.values()) for other in others
            )
        for one in self.waiting.values():
            assert why_queued(one, self.inside.values(), self.rules), f"{one.task} could begin and did not"

    def taken(self):
        """Places, counted another way than the code counts them: a family's are its tasks that wait for no child."""
        parents = {one.parent for one in self.inside.values()}
        idle = [one for one in self.inside.values() if one.task in parents]
        return Counter(one.project for one in self.inside.values()) - Counter(self._lent(one) for one in idle)

    def _lent(self, parent):
        return next(one.project for one in self.inside.values() if one.parent == parent.task)

    def pass_time(self):
        parents = {one.parent for one in [*self.inside.values(), *self.waiting.values()]}
        busy = [task for task in self.inside if task not in parents]
        assert busy or not self.inside, "everybody waits for somebody: a deadlock"
        if not busy:
            self.now_ms += 1_000
            return
        span = min(self.left_ms[task] for task in busy)
        self.now_ms += max(span, 1)
        for task in busy:
            self.left_ms[task] -= span
            if self.left_ms[task] <= 0:
                self.end_or_nest(task)

    def end_or_nest(self, task):
        if self.nested[task]:
            child = self.nested[task].pop()
            if circle(child, self.inside.values(), self.waiting.values()):
                self.refused += 1
            else:
                self.ask(child, self.chance.randrange(1, 5) * 10_000)
            self.left_ms[task] = 1_000
            return
        del self.inside[task]
        self.done += 1


def anything(house, task, project, parent=""):
    """A task of the project with any key and any priority."""
    key, priority = house.chance.choice(["", "~a", "~b", "~c"]), house.chance.choice(list(Priority))
    return Asked(task, task, house.now_ms, project, project, frozenset(), key, priority, parent)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_is_asked_for_begins_and_ends_within_its_caps(seed):
    chance = random.Random(seed)
    projects = [f"P{n}" for n in range(chance.randrange(1, 5))] + [""]
    house = House(Rules(chance.randrange(1, 4), chance.randrange(1, 4), patience_ms=PATIENCE_MS), chance)
    asked_for = 0
    for number in range(chance.randrange(1, 25)):
        project = chance.choice(projects)
        children = [
            anything(house, f"t{number}.{n}", chance.choice(projects), f"t{number}") for n in range(chance.randrange(3))
        ]
        house.ask(anything(house, f"t{number}", project), chance.randrange(1, 30) * 10_000, children)
        asked_for += 1 + len(children)
        if chance.random() < 0.5:
            house.step()
    for _ in range(500):
        if not house.waiting and not house.inside:
            break
        house.step()
    assert not house.waiting
    assert house.done + house.refused == asked_for


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_two_projects_that_never_stop_asking_have_half_the_places_each(seed):
    chance = random.Random(seed)
    house = House(Rules(6, 6, patience_ms=10**9), chance)
    for number in range(60):
        house.ask(Asked(f"a{number}", "", number, "A", "A"), chance.randrange(1, 60) * 1000)
    house.step()
    for number in range(60):
        house.ask(Asked(f"b{number}", "", house.now_ms, "B", "B"), chance.randrange(1, 60) * 1000)
    while any(one.project == "A" for one in house.waiting.values()) and any(
        one.project == "B" for one in house.waiting.values()
    ):
        before = set(house.inside)
        house.step()
        had = Counter(one.project for one in house.inside.values())
        # Whoever has more places than the other got none of the last ones.
        new = {one.project for task, one in house.inside.items() if task not in before}
        assert had["A"] <= 3 or "A" not in new or had["B"] >= had["A"] - 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_a_project_with_a_long_task_and_a_low_priority_is_let_in_within_the_patience_of_the_hub(seed):
    chance = random.Random(seed)
    house = House(Rules(2, 2, patience_ms=PATIENCE_MS), chance)
    house.ask(Asked("long", "", 0, "P", "P"), 10**9)
    house.step()
    house.ask(Asked("patient", "", house.now_ms, "P", "P", priority=Priority.LOW), 1_000)
    began_ms, longest_ms, number = house.now_ms, 60_000, 0
    lines = 7  # Each other line may have waited as long, and goes once before it.
    while "patient" in house.waiting:
        # Always somebody who has no place at the moment of each choice, and one of its own project who is more urgent.
        while len(house.waiting) < 8:
            number += 1
            project = "QRSP"[number % 4]
            priority = Priority.HIGH if project == "P" else chance.choice([Priority.NORMAL, Priority.HIGH])
            lasts_ms = chance.randrange(1, longest_ms // 1000) * 1_000
            house.ask(Asked(f"o{number}", "", house.now_ms, project, project, priority=priority), lasts_ms)
        house.step()
        assert house.now_ms - began_ms <= PATIENCE_MS + (lines + 1) * longest_ms
