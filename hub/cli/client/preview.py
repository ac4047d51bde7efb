"""`manyarm deploy --plan --files`: each target says what would change in its files; shown by step and target.

A target's log has, for each file, a line `would change NAME: +1 -1` and a unified diff (runner/file_changes.py).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from hub.cli.client import following, printing
from hub.cli.client.hub_api import HubApi, Json

_FILE = re.compile(r"would (?P<change>make|remove|change) (?P<path>.+): (?:\+(\d+) -(\d+)(?:, (.+))?|(.+))")
_HUNK = re.compile(r"@@ -\d+,(\d+) \+\d+,(\d+) @@")

Place = tuple[str, str]


def show_preview(hub: HubApi, body: Mapping[str, object], *, timeout_s: float | None, as_json: bool) -> None:
    """Ask for it, wait for it, show it; ends the command as the task ends."""
    made = hub.post("/deployments", {**body, "preview": True})
    click.echo(f"task {made['task']}: asking every target; nothing is changed", err=True)
    lines: dict[Place, list[Json]] = defaultdict(list)

    def take(line: Json) -> None:
        if line["target"]:
            lines[line["step"], line["target"]].append(line)
        else:
            following.print_line(line | {"level": "warning"})

    task = following.follow(hub, made["task"], timeout_s=timeout_s, show=take)
    if as_json:
        printing.as_json(_for_programs(task, lines))
    else:
        _for_people(task, lines)
    following.end_with(task)


def _for_people(task: Json, lines: Mapping[Place, Sequence[Json]]) -> None:
    """Targets that say the same stand together."""
    for step in task["steps"]:
        alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for target in step["targets"]:
            said = [line["text"] for line in lines[step["name"], target["name"]] if line["level"] != "verbose"]
            ended = [] if target["state"] == "succeeded" else [f"{target['state']}: {target['message']}".rstrip(": ")]
            alike[*said, *(words for words in ended if target["message"] not in said)].append(target["name"])
        for texts, targets in alike.items():
            click.echo(f"# {step['name']} on {', '.join(targets)}")
            for text in texts:
                click.echo(printing.plain(text))


def _for_programs(task: Json, lines: Mapping[Place, Sequence[Json]]) -> Json:
    return {
        "task": task["id"],
        "state": task["state"],
        "failure": task["failure"],
        "targets": [
            {
                "step": step["name"],
                "target": target["name"],
                "state": target["state"],
                "message": target["message"],
                **changes_in(
                    [line["text"] for line in lines[step["name"], target["name"]] if line["level"] != "verbose"]
                ),
            }
            for step in task["steps"]
            for target in step["targets"]
        ],
    }


def changes_in(texts: Iterable[str]) -> dict[str, Any]:
    """`files` with their diffs, and the `lines` that belong to none of them."""
    files: list[dict[str, Any]] = []
    others: list[str] = []
    left = [0, 0]
    for text in texts:
        if any(left):
            # What a file holds may look like anything; the header says how many lines of it there are.
            left = [left[0] - (text[:1] in {" ", "-", ""}), left[1] - (text[:1] in {" ", "+", ""})]
            files[-1]["diff"] += f"{text}\n"
        elif (hunk := _HUNK.fullmatch(text)) and files:
            left = [int(hunk[1]), int(hunk[2])]
            files[-1]["diff"] += f"{text}\n"
        elif files and text.startswith(("--- ", "+++ ")):
            files[-1]["diff"] += f"{text}\n"
        elif found := _FILE.fullmatch(text):
            files.append(
                {
                    "path": found["path"],
                    "change": found["change"],
                    "added": int(found[3] or 0),
                    "removed": int(found[4] or 0),
                    "note": found[5] or found[6] or "",
                    "diff": "",
                }
            )
        else:
            others.append(text)
    return {"files": files, "lines": others}
