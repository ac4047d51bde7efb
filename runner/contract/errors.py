"""What the contract refuses, and with what words.

ContractError
├── JobMalformed            a job (or one of its fields) is not what the contract says
├── TemplateError           a `#{…}` text cannot be expanded; names file and line
│   ├── UnknownVariable     no variable of that name; names the nearest ones
│   ├── UnknownFilter       no filter of that name; names the nearest ones
│   ├── FilterRefused       a filter cannot do it with this text or these options
│   ├── TemplateSyntax      an opening `#{` without its end, an empty name, blocks that do not match
│   ├── TemplateTooDeep     variables that refer to each other, or too many levels
│   └── TemplateTooLarge    the text, or the work for it, would grow past its limit
├── ArchiveRefused          an archive breaks a rule; carries an ARC_* code
├── SpoolDamaged            a record's number, size or chain value is wrong
├── MessageRefused          a script's service message is not one that we take
└── SecretTooShort          a value is too short to be masked
"""

from __future__ import annotations

from typing import Sequence


def shown(text: str, limit: int = 80) -> str:
    """Foreign text, escaped and cut, fit for a message."""
    escaped = text.encode("ascii", "backslashreplace").decode("ascii")
    printable = "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in escaped)
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


class ContractError(Exception):
    """Anything that one side of the contract may not accept from the other."""


class JobMalformed(ContractError):
    """A job that does not hold what the contract says.

    Args:
        field: Dotted path of the field at fault, such as `step.kind`.
        expected: What should have stood there.
    """

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"job field {shown(field)!r}: {expected}")
        self.field = field


class TemplateError(ContractError):
    """A text with `#{…}` that cannot be expanded."""

    def __init__(self, source: str, line: int, sentence: str) -> None:
        where = f"{source}:{line}: " if source else f"line {line}: "
        super().__init__(where + sentence)
        self.source = source
        self.line = line


class UnknownVariable(TemplateError):
    """No variable has this name."""

    def __init__(self, source: str, line: int, name: str, nearest: Sequence[str]) -> None:
        hint = f"; did you mean {' or '.join(shown(n) for n in nearest)}?" if nearest else ""
        super().__init__(source, line, f"no variable is named {shown(name)!r}{hint}")
        self.name = name
        self.nearest = tuple(nearest)


class UnknownFilter(TemplateError):
    """No filter has this name."""

    def __init__(self, source: str, line: int, name: str, nearest: Sequence[str]) -> None:
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        super().__init__(source, line, f"no filter is named {shown(name)!r}{hint}")
        self.name = name
        self.nearest = tuple(nearest)


class FilterRefused(TemplateError):
    """A filter that cannot take this text or these options."""


class TemplateSyntax(TemplateError):
    """The template is not well formed."""


class TemplateTooDeep(TemplateError):
    """Variables refer to one another without end, or too deep."""


class TemplateTooLarge(TemplateError):
    """The expanded text would pass its limit."""


class ArchiveRefused(ContractError):
    """An archive that breaks a rule of security.md 3j.

    Args:
        code: One of ARC_PATH, ARC_TYPE, ARC_BOMB, ARC_DUP, ARC_NAME, ARC_OVERLAP, ARC_FORMAT.
        sentence: What is wrong; foreign text in it must have passed `shown`.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code


class SpoolDamaged(ContractError):
    """The spool's bytes are not what its writer wrote."""


class MessageRefused(ContractError):
    """A service message that is unknown, malformed or over a limit."""


class SecretTooShort(ContractError):
    """A value that is too short to be masked without shredding the log."""
