"""PURE. Reads one `#{…}` tag: its path, filters, condition, loop head or calculation.

A tag ends at its `}`. Another `#{` inside one may stand in an index or as a filter's option and nowhere else: so each
tag is read to the next `#{` at most, and a text is read in linear time whatever it holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Tuple, Union

from runner.contract.template_tree import Calculation, Condition, Expression, FilterCall, Path, Reference, Step

NAME_MAX_CHARS = 1024
NESTING_MAX = 8
_NO_NAME = frozenset('.[]{}|"\n\r')
_KEYWORD = re.compile(r"\s*(if|unless|elseif|else|each|calc)(?=[\s}])", re.IGNORECASE)
_CLOSING = re.compile(r"#\{/\s*(if|unless|each)\s*\}", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_CALC_NAME = re.compile(r"[^\W0-9][\w \t\-:/~.]*")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2}


class Malformed(Exception):
    """The tag is not well formed; the text says why."""


@dataclass(frozen=True)
class Opening:
    """The head of a block: `if`, `unless`, `elseif`, `else` or `each`."""

    keyword: str
    raw: str
    line: int
    condition: Condition | None = None
    variable: str = ""
    collection: Path | None = None


@dataclass(frozen=True)
class Closing:
    keyword: str
    raw: str
    line: int


Tag = Union[Reference, Calculation, Opening, Closing]


def read_tag(text: str, at: int, line: int) -> Tuple[Tag, int]:
    """The tag whose `#{` stands at `at`, and where the text goes on.

    Raises:
        Malformed: there is no such tag.
    """
    if text.startswith("#{/", at):
        found = _CLOSING.match(text, at)
        if not found:
            raise Malformed("'#{/' begins '#{/if}', '#{/unless}' or '#{/each}'")
        return Closing(found.group(1).lower(), found.group(), line), found.end()
    reader = _TagReader(text, at + 2, line)
    tag = reader.tag(at)
    return tag, reader.at


class _TagReader:
    def __init__(self, text: str, at: int, line: int, depth: int = 0) -> None:
        self._text = text
        self.at = at
        self._line = line
        self._depth = depth
        self._compares = False

    def tag(self, start: int) -> Tag:
        found = _KEYWORD.match(self._text, self.at)
        keyword = found.group(1).lower() if found else ""
        if not found or (keyword != "else" and self._text[found.end()] == "}"):
            return self._reference(start)
        self.at = found.end()
        if keyword == "calc":
            program = _Calculator(self).program()
            self.end()
            return Calculation(program, self._text[start : self.at], self._line)
        condition: Condition | None = None
        variable, collection = "", None
        if keyword == "each":
            variable, collection = self._loop()
        elif keyword != "else":
            condition = self._condition(negated=keyword == "unless")
        self.end()
        return Opening(keyword, self._text[start : self.at], self._line, condition, variable, collection)

    def _reference(self, start: int) -> Reference:
        expression = self._expression()
        self.end()
        return Reference(expression, self._text[start : self.at], self._line)

    def end(self) -> None:
        self.skip()
        if not self.takes("}"):
            raise Malformed(self._unexpected("'}'"))

    def skip(self) -> None:
        while self.at < len(self._text) and self._text[self.at].isspace():
            self.at += 1

    def takes(self, token: str) -> bool:
        if self._text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self.at)
        if not found:
            return ""
        self.at = found.end()
        return found.group()

    def _unexpected(self, wanted: str) -> str:
        here = self._text[self.at : self.at + 1]
        if not here or self._text.startswith("#{", self.at):
            return "an opening '#{' has no '}'; write '##{' for a literal '#{'"
        if here in "\r\n":
            return "an opening '#{' has no '}' on its line; write '##{' for a literal '#{'"
        return f"{wanted} was expected where {here!a} stands; write '##{{' for a literal '#{{'"

    def _expression(self) -> Expression:
        self.skip()
        path = None if self._text.startswith("|", self.at) else self.path()
        filters: List[FilterCall] = []
        self.skip()
        while self.takes("|"):
            filters.append(self._filter())
            self.skip()
        return Expression(path, tuple(filters))

    def path(self) -> Path:
        start = self.at
        steps = [Step(is_index=False, parts=(self._name(),))]
        while self.at - start <= 8 * NAME_MAX_CHARS:
            if self.takes("."):
                steps.append(Step(is_index=False, parts=(self._name(),)))
            elif self.takes("["):
                steps.append(Step(is_index=True, parts=self._index()))
            else:
                return Path(tuple(steps))
        raise Malformed(f"a name has 1 to {NAME_MAX_CHARS} characters")

    def _name(self) -> str:
        start = self.at
        while self.at < len(self._text) and not self._ends_name():
            self.at += 1
        name = self._text[start : self.at].strip()
        if self._text.startswith("#{", self.at):
            raise Malformed("a reference inside a name stands in brackets: '#{A[#{B}]}'; or a '}' is missing before it")
        if not name and self._text[self.at : self.at + 1] not in {"}", ".", "|", "["}:
            raise Malformed(self._unexpected("a name"))
        if not name or len(name) > NAME_MAX_CHARS:
            raise Malformed(f"a name has 1 to {NAME_MAX_CHARS} characters")
        return name

    def _ends_name(self) -> bool:
        here = self._text[self.at]
        if here in _NO_NAME or (here == "#" and self._text.startswith("#{", self.at)):
            return True
        return self._compares and self._text.startswith(("==", "!="), self.at)

    def _index(self) -> Tuple[Union[str, Reference], ...]:
        parts: List[Union[str, Reference]] = []
        start, depth = self.at, 1
        while self.at < len(self._text) and self._text[self.at] not in "\r\n":
            if self._text.startswith("#{", self.at):
                parts += [self._text[start : self.at], self._inner()]
                start = self.at
                continue
            depth += {"[": 1, "]": -1}.get(self._text[self.at], 0)
            self.at += 1
            if depth == 0:
                parts.append(self._text[start : self.at - 1])
                return _trimmed(parts)
        raise Malformed("an opening '[' has no ']' on its line")

    def _inner(self) -> Reference:
        if self._depth >= NESTING_MAX:
            raise Malformed(f"references stand in one another more than {NESTING_MAX} deep")
        inner = _TagReader(self._text, self.at + 2, self._line, self._depth + 1)
        reference = inner._reference(self.at)
        self.at = inner.at
        return reference

    def _filter(self) -> FilterCall:
        self.skip()
        name = self._word()
        if not name:
            raise Malformed(self._unexpected("a filter's name"))
        options: List[Union[str, Reference]] = []
        while True:
            self.skip()
            if self._text.startswith("#{", self.at):
                options.append(self._inner())
            elif self.takes('"'):
                options.append(self._quoted('"'))
            elif self.takes('\\"'):
                options.append(self._quoted('\\"'))
            else:
                word = self._word()
                if not word:
                    return FilterCall(name, tuple(options))
                options.append(word)

    def _word(self) -> str:
        start = self.at
        while self.at < len(self._text) and not self._ends_word():
            self.at += 1
        return self._text[start : self.at]

    def _ends_word(self) -> bool:
        here = self._text[self.at]
        if here.isspace() or here in '|}"' or (here == "\\" and self._text.startswith('\\"', self.at)):
            return True
        if here == "#" and self._text.startswith("#{", self.at):
            return True
        return self._compares and self._text.startswith(("==", "!="), self.at)

    def _quoted(self, quote: str) -> str:
        closing = self._text.find(quote, self.at)
        nested = self._text.find("#{", self.at, closing if closing >= 0 else None)
        if closing < 0 or nested >= 0:
            raise Malformed(f"a text in quotes has no closing {quote} before the next '#{{'")
        content = self._text[self.at : closing]
        self.at = closing + len(quote)
        return content

    def _condition(self, *, negated: bool) -> Condition:
        self._compares = True
        left = self._expression()
        wants = True if self.takes("==") else False if self.takes("!=") else None
        right: Union[str, Expression] = ""
        if wants is not None:
            self.skip()
            quote = next((q for q in ('"', '\\"') if self.takes(q)), "")
            right = self._quoted(quote) if quote else self._expression()
        return Condition(left, wants, right, negated, self._line)

    def _loop(self) -> Tuple[str, Path]:
        words: List[str] = []
        while True:
            self.skip()
            word = self._word()
            if not word:
                raise Malformed("a loop reads '#{each ITEM in COLLECTION}'")
            if word.lower() == "in" and words:
                break
            words.append(word)
        self.skip()
        return " ".join(words), self.path()


def _trimmed(parts: List[Union[str, Reference]]) -> Tuple[Union[str, Reference], ...]:
    """Without spaces at both ends; what is empty goes, but for an index that is nothing else."""
    if isinstance(parts[0], str):
        parts[0] = parts[0].lstrip()
    if isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip()
    return tuple(part for part in parts if part != "") or ("",)


class _Calculator:
    """Turns what stands after `calc` into the order of a stack machine (the shunting yard), without recursion."""

    def __init__(self, reader: _TagReader) -> None:
        self._reader = reader
        self._output: List[Union[float, str, Path]] = []
        self._waiting: List[str] = []

    def program(self) -> Tuple[Union[float, str, Path], ...]:
        reader = self._reader
        while True:
            reader.skip()
            if reader.takes("("):
                self._waiting.append("(")
                continue
            self._operand()
            reader.skip()
            while reader.takes(")"):
                self._close()
                reader.skip()
            operator = next((o for o in _PRECEDENCE if reader.takes(o)), "")
            if not operator:
                break
            while self._waiting and _PRECEDENCE.get(self._waiting[-1], 0) >= _PRECEDENCE[operator]:
                self._output.append(self._waiting.pop())
            self._waiting.append(operator)
        while self._waiting:
            if self._waiting[-1] == "(":
                raise Malformed("a calculation has a '(' without its ')'")
            self._output.append(self._waiting.pop())
        return tuple(self._output)

    def _operand(self) -> None:
        number = self._reader.match(_NUMBER)
        if number:
            self._output.append(float(number[:300]))
        elif self._reader.takes("{"):
            self._output.append(self._reader.path())
            if not self._reader.takes("}"):
                raise Malformed("a calculation has a '{' without its '}'")
        else:
            name = self._reader.match(_CALC_NAME).strip()
            if not name:
                raise Malformed("a calculation holds numbers, names, + - * / % and parentheses")
            self._output.append(Path(tuple(Step(is_index=False, parts=(part.strip(),)) for part in name.split("."))))

    def _close(self) -> None:
        while self._waiting and self._waiting[-1] != "(":
            self._output.append(self._waiting.pop())
        if not self._waiting:
            raise Malformed("a calculation has a ')' without its '('")
        self._waiting.pop()
