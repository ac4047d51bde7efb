"""PURE. Whose turn it is: which queued tasks begin, in which order, and why each of the others waits.

    held        a pause of the hub, of its project, of its environment; a task with the same concurrency key
    a place     the hub has so many, and each project may take so many of them
    the order   children in their parent's place · urgent · who waited too long · projects with the fewest places

Fair between projects: the next place goes to the project that has the fewest, then to the one whose last turn is
longest ago; priorities order the tasks within a project, and `urgent` alone goes before other projects. Nobody
starves: a line (a project's tasks of one priority) that had no turn for the patience of the hub goes before all but
the urgent. No deadlock: a task that another one waits for begins in its parent's place and does not wait for its
parents' keys; one that would wait in a circle is refused when it is asked for (`circle`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from hub.states import Priority

# Children of children of children: a process that deploys itself would never end.
DEPTH_MAX = 8
_KEY_MAX = 250

Line = tuple[str, Priority]


class Why(StrEnum):
    """What holds a task in the queue."""

    PAUSED = "paused"
    KEY = "key"
    PROJECT_FULL = "project-full"
    HUB_FULL = "hub-full"
    TURN = "turn"


@dataclass(frozen=True, slots=True)
class Asked:
    """A task that waits for its turn.

    `project`: "" where it has none. `environments`: all that it touches. `key`: "" for none. `parent`: the task that
    waits for this one; "" for none.
    """

    task: str
    title: str
    since_ms: int
    project: str = ""
    project_name: str = ""
    environments: frozenset[str] = frozenset()
    key: str = ""
    priority: Priority = Priority.NORMAL
    parent: str = ""

    @property
    def line(self) -> Line:
        return (self.project, self.priority)


@dataclass(frozen=True, slots=True)
class Begun:
    """A task that has begun and not ended, in the order in which they began."""

    task: str
    title: str
    project: str = ""
    key: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing begins there. `project`, `environment`: ids, "" for any. `place`: in words."""

    place: str
    by: str
    since_ms: int
    reason: str = ""
    project: str = ""
    environment: str = ""

    def holds(self, asked: Asked) -> bool:
        return self.project in ("", asked.project) and (not self.environment or self.environment in asked.environments)


@dataclass(frozen=True, slots=True)
class Rules:
    """`hub_cap`: places of all nodes together. `project_caps`: of projects that have a number of their own.

    `patience_ms`: how long a line waits before it goes ahead of the fair order.
    """

    hub_cap: int
    project_cap: int
    project_caps: Mapping[str, int] = field(default_factory=dict)
    pauses: Sequence[Pause] = ()
    patience_ms: int = 600_000

    def cap_of(self, project: str) -> int:
        """Tasks of no project are limited by the hub's places alone."""
        return self.project_caps.get(project, self.project_cap) if project else self.hub_cap


@dataclass(frozen=True, slots=True)
class Block:
    """Why a task waits.

    `name`: of what is paused or full, or of the task it waits behind, whose id is `task`. `by`: who paused.
    """

    what: Why
    name: str
    sentence: str
    by: str = ""
    task: str = ""

    @property
    def owner(self) -> str:
        """Who has it in his hands that the task begins: a person, a task, or the queue itself."""
        return self.by or (self.name if self.task else "the queue")


def default_key(project: str, environment: str) -> str:
    """One deployment of a project to an environment at a time."""
    return f"={project}/{environment}"


def named_key(text: str) -> str:
    """A key that people gave; never that of another project's default."""
    return f"~{text}"[:_KEY_MAX]


def admit(
    asked: Iterable[Asked],
    begun: Iterable[Begun],
    rules: Rules,
    turns: Mapping[Line, int],
    now_ms: int,
    *,
    at_most: int = 1 << 30,
) -> tuple[Asked, ...]:
    """Who begins now, in this order.

    Args:
        asked: Those that wait; a line may be cut off behind as many as are chosen at most.
        begun: All that have begun and not ended.
        rules: The caps and pauses of this moment.
        turns: When each line had its last turn, UTC ms; a line that is not in it had none.
        now_ms: The present.
        at_most: How many are chosen.
    """
    floor, had = _Floor(begun, rules), dict(turns)
    waiting = sorted(asked, key=lambda one: (one.since_ms, one.task))
    chosen: list[Asked] = []
    while len(chosen) < at_most and (following := _next(waiting, floor, had, now_ms)) is not None:
        chosen.append(following)
        waiting.remove(following)
        had[following.line] = now_ms
        floor.enter(following)
    return tuple(chosen)


def blocks(asked: Iterable[Asked], begun: Iterable[Begun], rules: Rules) -> dict[str, Block]:
    """Why each of these waits, by task."""
    floor = _Floor(begun, rules)
    return {one.task: floor.block(one) or TURN for one in asked}


def why_queued(asked: Asked, begun: Iterable[Begun], rules: Rules) -> str:
    """One sentence; "" where nothing keeps it but those before it."""
    block = _Floor(begun, rules).block(asked)
    return block.sentence if block else ""


def circle(asked: Asked, begun: Iterable[Begun], waiting: Iterable[Asked]) -> str:
    """The title of the task for which a child would wait for ever; "" if there is none.

    A parent waits for its children, a queued child for who holds its key: a way from the child to one of its own
    parents is a circle.
    """
    floor = _Floor(begun, Rules(0, 0))
    children: dict[str, list[Asked]] = {}
    for one in waiting:
        children.setdefault(one.parent, []).append(one)
    parents = floor.lineage(asked.parent)
    for holder in floor.holders(asked):
        if parents & _awaited(holder.task, floor, children):
            return holder.title
    return ""


def lineage(parent: str, begun: Iterable[Begun]) -> frozenset[str]:
    """The task and its parents, as far as they have not ended."""
    return _Floor(begun, Rules(0, 0)).lineage(parent)


def moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


class _Floor:
    """Who has begun: the places that are taken, the keys that are held, who is whose child."""

    def __init__(self, begun: Iterable[Begun], rules: Rules) -> None:
        self._rules = rules
        self._begun: dict[str, Begun] = {}
        self._children: Counter[str] = Counter()
        self._keys: dict[str, list[Begun]] = {}
        self._taken: Counter[str] = Counter()
        rows = list(begun)
        self._begun = {one.task: one for one in rows}
        for one in rows:
            self._stand(one)

    def enter(self, asked: Asked) -> None:
        one = Begun(asked.task, asked.title, asked.project, asked.key, asked.parent)
        self._begun[one.task] = one
        self._stand(one)

    def taken(self, project: str) -> int:
        return self._taken[project]

    def in_parents_place(self, parent: str) -> bool:
        """Whether a child of it takes no place: its parent has one, waits, and has lent it to nobody yet."""
        return parent in self._begun and self._children[parent] == 0

    def lineage(self, parent: str) -> frozenset[str]:
        found: set[str] = set()
        while parent in self._begun and parent not in found:
            found.add(parent)
            parent = self._begun[parent].parent
        return frozenset(found)

    def holders(self, asked: Asked) -> list[Begun]:
        """Of its key, but for its own parents, who wait for it."""
        holding = self._keys.get(asked.key, []) if asked.key else []
        parents = self.lineage(asked.parent) if holding else frozenset()
        return [one for one in holding if one.task not in parents]

    def children(self, task: str) -> Iterator[str]:
        return (one.task for one in self._begun.values() if one.parent == task)

    def block(self, asked: Asked) -> Block | None:
        for pause in self._rules.pauses:
            if pause.holds(asked):
                return _paused(pause)
        holding = self.holders(asked)
        if holding:
            return _behind(asked, holding[0])
        if self.in_parents_place(asked.parent):
            return None
        cap = self._rules.cap_of(asked.project)
        if asked.project and self._taken[asked.project] >= cap:
            return _full(Why.PROJECT_FULL, f"project {asked.project_name}", cap)
        if self._taken.total() >= self._rules.hub_cap:
            return _full(Why.HUB_FULL, "the hub", self._rules.hub_cap)
        return None

    def _stand(self, one: Begun) -> None:
        if one.key:
            self._keys.setdefault(one.key, []).append(one)
        if not self.in_parents_place(one.parent):
            self._taken[one.project] += 1
        if one.parent:
            self._children[one.parent] += 1


TURN = Block(Why.TURN, "", "waits for its turn: others go before it")


def _next(waiting: Iterable[Asked], floor: _Floor, had: Mapping[Line, int], now_ms: int) -> Asked | None:
    """Of the first that could begin in each line, the one whose turn it is."""
    heads: dict[Line, Asked] = {}
    for one in waiting:
        if floor.in_parents_place(one.parent) and floor.block(one) is None:
            return one
        if one.line not in heads and floor.block(one) is None:
            heads[one.line] = one
    if not heads:
        return None
    urgent = [one for one in heads.values() if one.priority is Priority.URGENT]
    if urgent:
        return min(urgent, key=lambda one: (floor.taken(one.project), one.since_ms, one.task))
    patience_ms = floor._rules.patience_ms  # noqa: SLF001  Of this file.
    since = {line: max(had.get(line, 0), one.since_ms) for line, one in heads.items()}
    tired = min(heads.values(), key=lambda one: (since[one.line], one.task))
    if now_ms - since[tired.line] > patience_ms:
        return tired
    project = _fair(heads, floor, had)
    return max((one for one in heads.values() if one.project == project), key=lambda one: one.priority)


def _fair(heads: Mapping[Line, Asked], floor: _Floor, had: Mapping[Line, int]) -> str:
    """The project whose turn it is: with the fewest places, then without a turn for the longest time."""
    last: dict[str, int] = {}
    for (project, _), at_ms in had.items():
        last[project] = max(last.get(project, 0), at_ms)
    oldest: dict[str, int] = {}
    for one in heads.values():
        oldest[one.project] = min(oldest.get(one.project, one.since_ms), one.since_ms)
    return min(oldest, key=lambda project: (floor.taken(project), last.get(project, 0), oldest[project], project))


def _awaited(task: str, floor: _Floor, children: Mapping[str, Sequence[Asked]]) -> set[str]:
    """Everything that must end before this task can."""
    found: set[str] = set()
    left = [task]
    while left:
        present = left.pop()
        if present in found:
            continue
        found.add(present)
        left += floor.children(present)
        for child in children.get(present, ()):
            left += (holder.task for holder in floor.holders(child))
    return found


def _paused(pause: Pause) -> Block:
    reason = f": {pause.reason}" if pause.reason else ""
    words = f"{pause.place} is paused by {pause.by} since {moment(pause.since_ms)}{reason}"
    return Block(Why.PAUSED, pause.place, words, by=pause.by)


def _behind(asked: Asked, holder: Begun) -> Block:
    # Who may see this task need not be one who may see the other project's.
    title = holder.title if holder.project == asked.project else "a task of another project"
    rule = (
        f'both have the concurrency key "{asked.key[1:]}"'
        if asked.key.startswith("~")
        else "one deployment of a project to an environment at a time"
    )
    return Block(Why.KEY, title, f"waits for {title}: {rule}", task=holder.task)


def _full(what: Why, name: str, cap: int) -> Block:
    tasks = "1 task" if cap == 1 else f"{cap} tasks"
    return Block(what, name, f"waits for a place: {name} runs {tasks}, as many as it may at once")
