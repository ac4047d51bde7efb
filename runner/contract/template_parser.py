"""PURE. Reads a template into its tree, in one pass and linear time.

An even number of hashes before a brace makes it literal and loses one; an odd one from three on loses two, and the
reference after it stands (`##{A}` is `#{A}`, `###{A}` is `#` and the value of A), as Octostache has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Iterator, List, Tuple

from runner.contract.errors import TemplateSyntax, TemplateTooDeep, TemplateTooLarge
from runner.contract.template_tags import Closing, Malformed, Opening, Tag, read_tag
from runner.contract.template_tree import Branch, Each, If, Node, Text

BLOCKS_MAX = 20
# Of a block, or of a variable's value: what stands outside of blocks is written out as it is read.
TAGS_MAX = 20_000


def parse(text: str, source: str, warn: Callable[[str], None] | None = None) -> Tuple[Node, ...]:
    """The whole tree of a template; the same errors as `read_nodes`, and there may be TAGS_MAX tags in all."""
    if text.count("#{") > TAGS_MAX:
        raise TemplateTooLarge(source, 1, f"a value may hold up to {TAGS_MAX} tags")
    return tuple(read_nodes(text, source, warn))


def read_nodes(text: str, source: str, warn: Callable[[str], None] | None = None) -> Iterator[Node]:
    """The nodes of a template in their order, each as soon as it is whole.

    Args:
        text: The template.
        source: What it is from, for messages.
        warn: Where given, a tag that cannot be read is told here and stays as it stands.

    Raises:
        TemplateSyntax: a tag or block is not well formed (without `warn`).
        TemplateTooDeep: blocks stand in one another too deep.
        TemplateTooLarge: a block holds too many tags.
    """
    parser = _Parser(source, warn)
    at, scanned, line = 0, 0, 1
    while True:
        yield from parser.ready()
        opening = text.find("#{", at)
        if opening < 0:
            parser.text(text[at:])
            yield from parser.finish()
            return
        line += text.count("\n", scanned, opening)
        scanned = opening
        hashes = _hashes(text, at, opening)
        literal = text[at : opening - hashes + 1]
        if hashes % 2 == 0:
            parser.text(literal + "#" * (hashes - 1) + "{")
            at = opening + 2
            continue
        parser.text(literal + "#" * max(hashes - 2, 0))
        try:
            tag, at = read_tag(text, opening, line)
        except Malformed as error:
            parser.refuse(line, str(error))
            parser.text("#{")
            at = opening + 2
            continue
        parser.tag(tag, line)


def _hashes(text: str, start: int, opening: int) -> int:
    count = 1
    while opening - count >= start and text[opening - count] == "#":
        count += 1
    return count


@dataclass
class _Block:
    """A block that is not closed yet: each of its openings (`if`, `elseif`, `else`) with the body after it."""

    parts: List[Tuple[Opening, List[Node]]] = field(default_factory=list)

    @property
    def keyword(self) -> str:
        return self.parts[0][0].keyword

    def may_go_on_with(self, keyword: str) -> bool:
        has_else = self.parts[-1][0].keyword == "else"
        return not has_else and (self.keyword == "if" or (self.keyword == "unless" and keyword == "else"))

    def node(self) -> Node:
        head, body = self.parts[0]
        if head.collection is not None:
            return Each(head.variable, head.collection, tuple(body), head.line)
        return If(tuple(Branch(opening.condition, tuple(inside)) for opening, inside in self.parts))


class _Parser:
    def __init__(self, source: str, warn: Callable[[str], None] | None) -> None:
        self._source = source
        self._warn = warn
        self._nodes: List[Node] = []
        self._blocks: List[_Block] = []
        self._tags = 0

    def ready(self) -> List[Node]:
        """What is whole; it is let go of."""
        if self._blocks:
            return []
        nodes, self._nodes, self._tags = self._nodes, [], 0
        return nodes

    def text(self, text: str) -> None:
        if text:
            self._body().append(Text(text))

    def tag(self, tag: Tag, line: int) -> None:
        self._tags += 1
        if self._tags > TAGS_MAX:
            raise TemplateTooLarge(self._source, line, f"a block may hold up to {TAGS_MAX} tags")
        if isinstance(tag, Closing):
            self._close(tag)
        elif isinstance(tag, Opening):
            self._open(tag, line)
        else:
            self._body().append(tag)

    def refuse(self, line: int, sentence: str) -> None:
        error = TemplateSyntax(self._source, line, sentence)
        if self._warn is None:
            raise error
        self._warn(f"{error}; it stays as it stands")

    def finish(self) -> Tuple[Node, ...]:
        while self._blocks:
            block = self._blocks.pop()
            opening = block.parts[0][0]
            self.refuse(opening.line, f"'#{{{opening.keyword} …}}' has no '#{{/{opening.keyword}}}'")
            for part, body in block.parts:
                self.text(part.raw)
                self._body().extend(body)
        return tuple(self._nodes)

    def _body(self) -> List[Node]:
        return self._blocks[-1].parts[-1][1] if self._blocks else self._nodes

    def _open(self, tag: Opening, line: int) -> None:
        if tag.keyword in {"else", "elseif"}:
            if self._blocks and self._blocks[-1].may_go_on_with(tag.keyword):
                self._blocks[-1].parts.append((tag, []))
                return
            self.refuse(line, f"'#{{{tag.keyword}}}' belongs to no '#{{if …}}' here")
            self.text(tag.raw)
            return
        if len(self._blocks) >= BLOCKS_MAX:
            raise TemplateTooDeep(self._source, line, f"blocks stand in one another more than {BLOCKS_MAX} deep")
        self._blocks.append(_Block([(tag, [])]))

    def _close(self, tag: Closing) -> None:
        if self._blocks and self._blocks[-1].keyword == tag.keyword:
            node = self._blocks.pop().node()
            self._body().append(node)
            return
        self.refuse(tag.line, f"'#{{/{tag.keyword}}}' closes no '#{{{tag.keyword} …}}' here")
        self.text(tag.raw)
