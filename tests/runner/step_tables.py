"""The tables of docs/steps.md, written from what step kinds declare: `python -m tests.runner.step_tables`."""

from pathlib import Path

from runner.contract.job import MODES
from runner.contract.step_kind import Property, StepKind, read_step_kinds
from runner.steps import step_kinds

PAGE = Path(__file__).resolve().parents[2] / "docs/steps.md"
BEGIN = "<!-- Written by `python -m tests.runner.step_tables`; what stands below is replaced. -->\n"


def tables() -> str:
    kinds = read_step_kinds(step_kinds())
    return "\n".join(_section(kinds[name]) for name in sorted(kinds))


def _section(kind: StepKind) -> str:
    package = "needs a package" if kind.needs_package else "takes none"
    if kind.may_have_package:
        package = "may have a package"
    modes = {mode: mode in kind.modes for mode in MODES}
    lines = [
        f"### {kind.name}",
        "",
        f"{kind.description} A step of this kind {package}; "
        f"going back to an earlier release {'is known to it' if modes['switch'] else 'is nothing of its own'}, "
        f"a dry run {'shows what it would do' if modes['preview'] else 'leaves it out'}.",
        "",
        "| Property | What it takes | Without it | |",
        "|---|---|---|---|",
        *map(_row, kind.properties),
        "",
    ]
    return "\n".join(lines)


def _row(prop: Property) -> str:
    without = "required" if prop.required else _default(prop.default)
    return f"| `{prop.name}` | {_type(prop)} | {without} | {prop.help.replace('|', chr(92) + '|')} |"


def _type(prop: Property) -> str:
    if prop.type == "choice":
        return " · ".join(f"`{choice}`" for choice in prop.choices)
    names = {"text": "text", "script": "text of several lines", "boolean": "`true` · `false`", "list": "list of texts"}
    if prop.type != "integer":
        return names[prop.type]
    if prop.most is None:
        return "whole number" if prop.least is None else f"whole number from {prop.least}"
    return f"whole number from {prop.least or 0} to {prop.most}"


def _default(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in (None, "", [], ()):
        return "–"
    return "`" + (", ".join(map(str, value)) if isinstance(value, list) else str(value)) + "`"


if __name__ == "__main__":
    before, _, _ = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{tables()}")
