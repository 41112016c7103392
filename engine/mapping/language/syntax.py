"""Expressions of the mapping language: text to tokens to a tree. Every node knows its offset in the text.

    x if c else y   or   and   not   == != < <= > >= in matches   | (first present)   ++ (join lists)
    + -   * /   - (sign)   .name  .1  [0]                                           (loosest to tightest)

    PID-3  PID-3[2].4.1  PID-3[*]  NTE[*]-3  OBX      paths, upper case, as the standards write them
    $  $.items[0].name  $.items[*]['unit price']  @.name      paths into JSON (RFC 9535), lower case or upper
    name  function(x, 'text')  'text'  1.50  [a, b]  absent  true  false

A path is one token: ``OBX-3`` is a field, ``OBX - 3`` is an error, so no blank changes a meaning unseen. Repetitions in
paths count from 1 as in the standards, ``[0]`` on a list counts from 0.
"""

import re
from dataclasses import dataclass

from engine.mapping.language import rules
from engine.model.errors import ExpressionError

MAX_EXPRESSION = 4000  # characters
MAX_DEPTH = 60  # nested brackets and operators
MAX_PATTERN = 200  # characters of a `matches` pattern

# -- tokens ------------------------------------------------------------------------------------------------------

TREE_PATH = r"[$@](?:\.[A-Za-z_][A-Za-z0-9_]*|\[(?:\*|\d{1,6})\]|\['[^'\\]{1,200}'\])*"
_TOKEN = re.compile(
    rf"(?P<tree>{TREE_PATH})|"
    r"""
      (?P<blank>[ \t\r\n]+)
    | (?P<path>[A-Z][A-Z0-9]{0,2}(?![A-Za-z0-9_])
        (?:\[(?P<which>\*|\d{1,4})\](?=-))?
        (?:-(?P<field>\d{1,3})
           (?:\[(?P<repetition>\*|\d{1,4})\])?
           (?:\.(?P<component>\d{1,3})(?:\.(?P<subcomponent>\d{1,3}))?)?
        )?)
    | (?P<name>[a-z_][A-Za-z0-9_]*)
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<quote>['"])
    | (?P<operator>\+\+|==|!=|<=|>=|[|<>+\-*/.,()\[\]])
    """,
    re.VERBOSE,
)
_SEGMENT_INDEX = re.compile(r"\[(\*|\d{1,4})\]")
_DIGITS = re.compile(r"\d{1,4}")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_WORDS = frozenset({"if", "else", "and", "or", "not", "in", "matches", "true", "false", "absent"})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "matches"})


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: text, number, path, name, or the operator or word itself; ``end``."""

    kind: str
    at: int
    text: str = ""
    path: rules.Path | None = None


def tokens(text: str) -> list[Token]:
    """The tokens of an expression, ending in one of kind ``end``.

    Raises:
        ExpressionError: a character or text that no token begins with or that does not end.
    """
    if len(text) > MAX_EXPRESSION:
        raise ExpressionError(0, f"longer than {MAX_EXPRESSION} characters; use let: for parts of it")
    found: list[Token] = []
    at = 0
    while at < len(text):
        if found and found[-1].kind == "." and (digits := _DIGITS.match(text, at)):
            found.append(Token("number", at, digits[0]))  # `x.1.2` is two components, not the number 1.2
            at = digits.end()
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(at, _strange(text, at))
        kind = match.lastgroup or ""
        if match["path"]:
            token, end = _path_token(text, match)
            found.append(token)
        elif match["quote"]:
            value, end = _quoted(text, at)
            found.append(Token("text", at, value))
        else:
            end = match.end()
            if kind == "name":
                found.append(Token(match[0] if match[0] in _WORDS else "name", at, match[0]))
            elif kind in ("number", "tree"):
                found.append(Token(kind, at, match[0]))
            elif kind == "operator":
                found.append(Token(match[0], at, match[0]))
        at = end
    found.append(Token("end", len(text)))
    return found


def _path_token(text: str, match: re.Match[str]) -> tuple[Token, int]:
    end = match.end()
    which = match["which"]
    segment = re.match("[A-Z0-9]+", match[0])
    assert segment is not None
    if not match["field"] and which is None and (index := _SEGMENT_INDEX.match(text, end)):
        which, end = index[1], index.end()  # OBX[2] alone

    def count(part: str | None) -> int | None:
        return None if part is None else 0 if part == "*" else int(part)

    for part in (which, match["field"], match["repetition"], match["component"], match["subcomponent"]):
        if part is not None and part != "*" and int(part) == 0:
            raise ExpressionError(match.start(), f"{match[0]}: segments, fields, repetitions and parts count from 1")
    path = rules.Path(
        at=match.start(),
        segment=segment[0],
        which=count(which),
        field=int(match["field"] or 0),
        repetition=count(match["repetition"]),
        component=int(match["component"] or 0),
        subcomponent=int(match["subcomponent"] or 0),
    )
    return Token("path", match.start(), path.text, path), end


def _quoted(text: str, at: int) -> tuple[str, int]:
    """The text between quotes, and the offset behind it. A doubled quote or a backslash is one character."""
    quote, value, i = text[at], [], at + 1
    while i < len(text):
        sign = text[i]
        if sign == "\\":
            following = text[i + 1 : i + 2]
            if following not in _ESCAPES:
                raise ExpressionError(i, f"\\{following} means nothing; write \\\\ for a backslash, \\n for a new line")
            value.append(_ESCAPES[following])
            i += 2
        elif sign == quote:
            if text[i + 1 : i + 2] != quote:
                return "".join(value), i + 1
            value.append(quote)
            i += 2
        else:
            value.append(sign)
            i += 1
    raise ExpressionError(at, f"a text begins here and does not end; close it with {quote}")


def _strange(text: str, at: int) -> str:
    sign = text[at]
    if sign == "=":
        return "one = compares nothing; write == to compare"
    if sign == "&" or text.startswith("||", at):
        return f"{sign} is no operator; write and, or, or | for the first present value"
    if sign.isalpha():
        return "names are written in lower case, segments in upper case; check the spelling"
    if sign in "{}":
        return "braces are for YAML only; write an object as a map of its own"
    return f"{sign!r} means nothing here; remove it"


# -- Pratt parser ------------------------------------------------------------------------------------------------

_BINDING = {
    "if": 10,
    "or": 20,
    "and": 30,
    **dict.fromkeys(_COMPARISONS, 50),
    "|": 60,
    "++": 70,
    "+": 80,
    "-": 80,
    "*": 90,
    "/": 90,
    ".": 110,
    "[": 110,
}
_NOT, _SIGN = 40, 100


def parse(text: str) -> rules.Expression:
    """The tree of an expression (without the ``=`` that marks it in YAML).

    Raises:
        ExpressionError: with the offset and what to do.
    """
    return _Parser(tokens(text)).whole()


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._next = 0
        self._depth = 0

    def whole(self) -> rules.Expression:
        if self._peek().kind == "end":
            raise ExpressionError(0, "there is nothing after the =; write an expression or remove the =")
        tree = self._expression(0)
        rest = self._peek()
        if rest.kind != "end":
            raise ExpressionError(rest.at, f"{_shown(rest)} does not continue the expression; an operator is missing")
        return tree

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        if token.kind != "end":
            self._next += 1
        return token

    def _expect(self, kind: str, where: str) -> Token:
        token = self._take()
        if token.kind != kind:
            raise ExpressionError(token.at, f"{kind} is missing {where}, found {_shown(token)}")
        return token

    def _expression(self, binding: int) -> rules.Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(self._peek().at, "too deeply nested; use let: for parts of it")
        left = self._operand()
        length = 0
        while (power := _BINDING.get(self._peek().kind, 0)) > binding:
            left = self._operation(left, power)
            length += 1
            if length > MAX_DEPTH:
                raise ExpressionError(self._peek().at, "too many operators in a row; use let: for parts of it")
        self._depth -= 1
        return left

    def _operand(self) -> rules.Expression:
        token = self._take()
        match token.kind:
            case "text":
                return rules.Literal(token.at, token.text)
            case "number":
                return rules.Number(token.at, token.text)
            case "path":
                assert token.path is not None
                return token.path
            case "tree":
                return rules.TreePath(token.at, token.text)
            case "true" | "false":
                return rules.Flag(token.at, token.kind == "true")
            case "absent":
                return rules.Absent(token.at)
            case "name":
                if self._peek().kind == "(":
                    self._take()
                    return rules.Call(token.at, token.text, self._list(")", f"of {token.text}()"))
                return rules.Name(token.at, token.text)
            case "(":
                inside = self._expression(0)
                self._expect(")", "behind the expression in brackets")
                return inside
            case "[":
                return rules.ListOf(token.at, self._list("]", "of the list"))
            case "not":
                return rules.Unary(token.at, "not", self._expression(_NOT))
            case "-":
                return rules.Unary(token.at, "-", self._expression(_SIGN))
            case "end":
                raise ExpressionError(token.at, "a value is missing at the end")
            case _:
                raise ExpressionError(token.at, f"a value is missing before {_shown(token)}")

    def _list(self, end: str, where: str) -> tuple[rules.Expression, ...]:
        items: list[rules.Expression] = []
        if self._peek().kind == end:
            self._take()
            return ()
        while True:
            items.append(self._expression(0))
            token = self._take()
            if token.kind == end:
                return tuple(items)
            if token.kind != ",":
                raise ExpressionError(token.at, f", or {end} is missing {where}, found {_shown(token)}")

    def _operation(self, left: rules.Expression, power: int) -> rules.Expression:
        token = self._take()
        match token.kind:
            case ".":
                return self._part(left, token)
            case "[":
                index = self._expect("number", "as the index of a list; lists count from 0")
                if "." in index.text:
                    raise ExpressionError(index.at, "an index is a whole number, from 0")
                self._expect("]", "behind the index")
                return rules.Item(token.at, left, int(index.text))
            case "if":
                condition = self._expression(power)
                self._expect("else", "of the `x if condition else y`; absent is a value too")
                return rules.Choice(token.at, left, condition, self._expression(power - 1))
            case operator:
                right = self._expression(power)
                if operator in _COMPARISONS and self._peek().kind in _COMPARISONS:
                    raise ExpressionError(self._peek().at, "comparisons do not chain; join them with and")
                return rules.Binary(token.at, operator, left, right)

    def _part(self, left: rules.Expression, dot: Token) -> rules.Expression:
        token = self._take()
        if token.kind == "name" or token.kind in _WORDS:
            return rules.Member(dot.at, left, token.text)
        if token.kind == "number" and "." not in token.text:
            number = int(token.text)
            if number == 0:
                raise ExpressionError(token.at, "components count from 1")
            if isinstance(left, rules.Path) and left.field and not left.subcomponent:
                raise ExpressionError(token.at, f"write {left.text}.{number} without blanks")
            return rules.Part(dot.at, left, number)
        raise ExpressionError(token.at, f"a name or a component number is missing behind the dot, not {_shown(token)}")


def _shown(token: Token) -> str:
    return "the end" if token.kind == "end" else f"'{token.text}'"
