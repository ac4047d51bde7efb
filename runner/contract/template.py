"""The template language `#{…}`, as Octopus's files have it: values, tests, loops, calculations and filters.

    #{Name}  #{A[b].C}  #{A[#{B}].C}  ##{ literally
    #{if A}…#{elseif B == "x"}…#{else}…#{/if}   #{unless A}…#{/unless}
    #{each x in A}…#{x.Name} #{Octopus.Template.Each.Index}…#{/each}
    #{Name | ToUpper | Replace "a" "b"}   #{calc A * 2 + 1}

template_tags and template_parser read a text into a template_tree, template_evaluator walks it; names are found in
template_names, members of JSON values in template_data; filters lie in runner/filters. A value that a target gave
(`verbatim`) is data for ever, and so is every result: nothing is expanded twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Collection, List, Mapping, Tuple

from runner.contract.errors import TemplateError

if TYPE_CHECKING:
    from datetime import datetime

SIZE_MAX_CHARS = 16 * 1024 * 1024


def _here_and_now() -> datetime:
    from datetime import datetime  # late: few templates ask for the time

    return datetime.now().astimezone()


def expand(
    text: str,
    variables: Mapping[str, str],
    strict: bool = True,
    *,
    source: str = "",
    verbatim: Collection[str] = (),
    limit: int = SIZE_MAX_CHARS,
    warn: Callable[[str], None] | None = None,
    clock: Callable[[], datetime] = _here_and_now,
) -> str:
    """The text with everything replaced.

    Args:
        text: What to expand.
        variables: Values by name, not expanded themselves.
        strict: Refuse an unknown name or filter, a filter that cannot, and what cannot be read; else it stays as it
            stands and `warn` is told. Limits are kept either way.
        source: File or variable that the text is from, for messages.
        verbatim: Names whose values are never expanded further (outputs of targets, secrets).
        limit: Characters that the result may have; the work is bounded in proportion.
        warn: Told of each thing that stayed, once.
        clock: The time that NowDate gives.

    Raises:
        TemplateError: one of its children, naming source and line.
    """
    if "#{" not in text:
        return text
    from runner.contract.template_evaluator import Evaluation  # late: most texts hold no template
    from runner.contract.template_names import Names  # late: the same

    evaluation = Evaluation(
        Names(variables),
        warn=None if strict else warn or _unheard,
        verbatim=frozenset(verbatim),
        limit=limit,
        clock=clock,
    )
    return evaluation.expand(text, source)


def _unheard(sentence: str) -> None:
    del sentence


def references(text: str) -> Tuple[str, ...]:
    """Names that a text refers to directly, in order; computed names (`#{A[#{B}]}`) give their inner parts.

    Raises:
        TemplateError: the text is not well formed.
    """
    if "#{" not in text:
        return ()
    from runner.contract.template_parser import parse  # late: most texts hold no template
    from runner.contract.template_references import names_in  # late: the same

    found: List[str] = []
    names_in(parse(text, ""), found, frozenset())
    return tuple(found)


__all__ = ["TemplateError", "expand", "references"]
