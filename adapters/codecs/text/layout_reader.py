"""Read a layout: a YAML node tree to `layout_language.Layout`, with every problem in it. Pure.

The language is described in ``docs/layouts.md``. Nodes come from the engine's strict YAML reader; each knows its file,
line and column, and every problem begins with them.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal, Protocol, TypeVar

from adapters.codecs.text.framing import CHECKSUMS, NAMES, Checksum, Framing, shown, wire
from adapters.codecs.text.layout_language import (
    LETTERS,
    OPENED_BY_RULES,
    Fields,
    Layout,
    Lines,
    Place,
    Rows,
    Rule,
    Template,
    Value,
)
from engine.model.errors import ConfigError

C = TypeVar("C", bound=str)

FIELD = re.compile(r"([A-Z])-([0-9]{1,2})(?:\.([0-9]{1,2}))?")
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
MAX_FIELD = 60  # of a record
MAX_RULES = 500
# Selectors, of which a rule has one, by the kind of text.
SELECTORS = {
    Lines: ("line", "find", "begins", "columns", "at_end_of"),
    Fields: ("tag", "at_end_of"),
    Rows: ("each", "at_end_of"),
}
ACTIONS = ("set", "remember", "new", "amend", "section", "skip", "no_result", "refuse")
RULE_KEYS = (
    "line", "find", "begins", "columns", "tag", "value", "each", "at_end_of", "in", "if", *ACTIONS,
)  # fmt: skip


class Node(Protocol):
    """The part of `engine.config.yaml_nodes.Node` that the reader needs."""

    kind: str
    value: str
    file: str
    line: int
    column: int
    items: "tuple[Node, ...]"
    pairs: "tuple[tuple[Node, Node], ...]"

    def problem(self, text: str) -> str: ...


def read_layout(root: Node) -> Layout:
    """The layout of one file.

    Raises:
        ConfigError: all that is wrong with it.
    """
    return _Reader().layout(root)


class _Reader:
    """Collects problems; an unreadable value is replaced by a harmless one, so that reading goes on."""

    def __init__(self) -> None:
        self._problems: list[tuple[int, int, str]] = []  # line and column: their order
        self._remembered: set[str] = set()
        self._sections: set[str] = set()

    def layout(self, root: Node) -> Layout:
        block = self._block(
            root, "layout", "about", "evidence", "framing", "text", "decimal", "required", "unread", "rules"
        )
        name = self._word(block["layout"]) if "layout" in block else self._missing(root, "layout", "the layout's name")
        text = self._text(block["text"]) if "text" in block else Lines()
        if "text" not in block:
            self._missing(root, "text", "how a text is cut into pieces, as text: {as: lines}")
        if "rules" not in block:
            self._missing(root, "rules", "a list of rules")
        nodes = self._list(block["rules"]) if "rules" in block else ()
        if len(nodes) > MAX_RULES:
            self._problem(block["rules"], f"more than {MAX_RULES} rules; use fewer, as find: with (A|B|C)")
        for node in nodes:
            self._note_names(node)
        rules = tuple(self._rule(node, text) for node in nodes[:MAX_RULES])
        made = Layout(
            name=name,
            text=text,
            rules=rules,
            framing=self._framing(block["framing"]) if "framing" in block else None,
            decimal=self._choice(block.get("decimal"), (".", ",")),
            required=tuple(self._required(node) for node in self._listed(block.get("required"))),
            unread=self._choice(block.get("unread"), ("keep", "refuse")),
            columns=_columns(text, rules),
            at=f"{root.file}:{root.line}:{root.column}",
        )
        if self._problems:
            raise ConfigError(*(text for *_, text in sorted(self._problems)))
        return made

    # -- framing -----------------------------------------------------------------------------------------------

    def _framing(self, node: Node) -> Framing:
        block = self._block(
            node, "start", "end", "idle", "lines", "checksum", "answer", "replies", "between", "timeout"
        )
        start = self._marks(block.get("start"))
        end = self._marks(block.get("end"))
        lines = self._number(block.get("lines"), 1, 10_000)
        idle = self._duration(block["idle"]) if "idle" in block else None
        if sum(key in block for key in ("end", "idle", "lines")) != 1:
            self._problem(node, "give one of end, idle and lines: what ends a text")
        if lines and not start:
            self._problem(block["lines"], "lines needs start; else a text that lost a line would end in the next one")
        if start and end and end in start:
            self._problem(block["start"], "start holds the end bytes; a text would end where it begins")
        checksum = self._checksum(block["checksum"]) if "checksum" in block else None
        if checksum is not None and not end:
            self._problem(block["checksum"], "a checksum needs end bytes, so that its place is known")
        answer = self._block(block.get("answer"), "good", "bad")
        good, bad = self._marks(answer.get("good")), self._marks(answer.get("bad"))
        if "answer" in block and not good:
            self._problem(block["answer"], "answer needs good: what the analyzer waits for, as good: <ACK>")
        replies = {}
        for key, value in self._pairs(block.get("replies")):
            byte = self._bytes(key)
            if len(byte) != 1 or byte[0] >= 32 or byte in (b"\r", b"\n", b"\t"):
                self._problem(key, "expected one control byte, as <ENQ>")
            elif byte in start or byte in end:
                self._problem(key, f"{shown(byte)} is part of start or end; it cannot ask for a reply as well")
            else:
                replies[byte[0]] = self._marks(value)
        return Framing(
            start=start,
            end=end,
            idle=idle,
            lines=lines,
            checksum=checksum,
            good=good,
            bad=bad,
            replies=replies,
            between=b"\0\r\n" + self._marks(block.get("between")),
            timeout=self._duration(block["timeout"]) if "timeout" in block else 60.0,
        )

    def _checksum(self, node: Node) -> Checksum:
        block = self._block(node, "kind", "covers", "place", "written", "check")
        kind = self._choice(block.get("kind"), tuple(CHECKSUMS))
        covers = {self._choice(item, ("start", "text", "end")) for item in self._listed(block.get("covers"))}
        if covers and "text" not in covers:
            self._problem(block["covers"], "covers needs text, as covers: [text, end]")
        place: Literal["before", "after"] = self._choice(block.get("place"), ("before", "after"), "after")
        written: Literal["hex", "byte"] = self._choice(block.get("written"), ("hex", "byte"))
        if place == "before" and written == "byte":
            self._problem(block["written"], "a byte before the end bytes could be an end byte itself; only hex can be")
        check: Literal["required", "warn"] = self._choice(block.get("check"), ("required", "warn"))
        return Checksum(
            kind=kind, start="start" in covers, end="end" in covers, place=place, written=written, check=check
        )

    # -- how a text is cut -------------------------------------------------------------------------------------

    def _text(self, node: Node) -> Lines | Fields | Rows:
        keys = {"lines": ("ends",), "fields": ("separator", "tag", "until", "end"), "csv": tuple(_CSV_KEYS)}
        pairs = {key.value: value for key, value in node.pairs}
        kind = self._choice(pairs.get("as"), tuple(keys), "")
        if not kind:
            self._missing(node, "as", "lines, fields or csv")
            kind = "lines"
        block = self._block(node, "as", *keys[kind])
        if kind == "lines":
            return Lines(ends=self._characters(block.get("ends")))
        if kind == "fields":
            separator = self._characters(block.get("separator"))
            if not separator:
                self._missing(node, "separator", "the text between two fields, as <RS>")
            if ("tag" in block) == ("until" in block):
                self._problem(node, "give tag: how many characters, or until: what ends a tag, as until: '='")
            return Fields(
                separator=separator or "\n",
                tag=self._number(block.get("tag"), 1, 32),
                until=self._characters(block.get("until")),
                end=self._characters(block.get("end")),
            )
        return self._rows(block)

    def _rows(self, block: dict[str, Node]) -> Rows:
        def one(key: str, default: str) -> str:
            if key not in block:
                return default
            text = self._characters(block[key])
            if len(text) != 1:
                self._problem(block[key], "expected one character, as ; or <TAB>")
                return default
            return text

        delimiter, quote = one("delimiter", ","), one("quote", '"')
        if delimiter == quote or {delimiter, quote} & set("\r\n"):
            self._problem(block.get("quote", block["as"]), "delimiter and quote are two characters, and no line ends")
        return Rows(
            delimiter=delimiter,
            quote=quote,
            header=self._choice(block.get("header"), ("true", "false")) == "true",
            skip=self._number(block.get("skip"), 0, 1000),
            skip_lines=self._pattern(block["skip_lines"]) if "skip_lines" in block else None,
            key=tuple(self._word(item) for item in self._listed(block.get("key"))),
            optional=tuple(self._word(item) for item in self._listed(block.get("optional"))),
            ignore=tuple(self._word(item) for item in self._listed(block.get("ignore"))),
        )

    # -- rules -------------------------------------------------------------------------------------------------

    def _note_names(self, node: Node) -> None:
        """Names and sections that any rule gives: all other rules may use them, also earlier ones."""
        for key, value in node.pairs:
            if key.value == "remember":
                self._remembered |= {name.value for name, _ in value.pairs}
            elif key.value == "section":
                self._sections.add(value.value)

    def _rule(self, node: Node, text: Lines | Fields | Rows) -> Rule:
        block = self._block(node, *RULE_KEYS)
        at = f"{node.file}:{node.line}"
        allowed = SELECTORS[type(text)]
        given = [key for key in ("line", "find", "begins", "tag", "each", "at_end_of") if key in block]
        for selector in (*given, *(key for key in ("columns",) if key in block)):
            if selector not in allowed:
                wanted = " or ".join(allowed)
                self._problem(block[selector], f"{selector} is not for this kind of text; use {wanted}")
        if len(given) > 1:
            self._problem(node, f"a rule takes one kind of piece; {given[0]} and {given[1]} are two")
        if "value" in block and "tag" not in block:
            self._problem(block["value"], "value goes with tag, and says which values are meant; elsewhere use if")
        if not given and "columns" not in block and not isinstance(text, Rows):
            self._problem(node, f"says nothing about what it takes; give {', '.join(allowed[:-1])} or {allowed[-1]}")
        if not any(key in block for key in ACTIONS):
            self._problem(node, f"does nothing; give one of {', '.join(ACTIONS)}")
        line, find, value = (self._pattern(block[key]) if key in block else None for key in ("line", "find", "value"))
        columns = self._slices(block.get("columns"))
        each = self._each(block["each"]) if "each" in block else None
        names = self._names(text, (line, find, value, each), columns, ends="at_end_of" in block)
        new = self._choice(block.get("new"), tuple(OPENED_BY_RULES), "")
        sets = tuple(
            (self._place(key), self._value(given_value, names)) for key, given_value in self._pairs(block.get("set"))
        )
        for (key, _), (place, _) in zip(self._pairs(block.get("set")), sets, strict=True):
            if place.letter in "CM" and new != place.letter:
                self._problem(key, f"{place} needs new: {place.letter} in the same rule")
            if "amend" in block and place.letter != "R":
                self._problem(key, "a rule with amend sets fields of R only")
        return Rule(
            at=at,
            line=line,
            find=find,
            begins=self._characters(block.get("begins")),
            columns=columns,
            tag=self._word(block.get("tag")),
            value=value,
            each=each,
            at_end_of=self._choice(block.get("at_end_of"), ("P", "O", "R"), ""),
            sections=tuple(self._section(item) for item in self._listed(block.get("in"))),
            section=self._word(block.get("section")),
            where={
                self._known(key, key.value, names): self._pattern(pattern)
                for key, pattern in self._pairs(block.get("if"))
            },
            new=new,
            sets=sets,
            remembers=tuple(
                (self._word(key), self._value(given_value, names))
                for key, given_value in self._pairs(block.get("remember"))
            ),
            amends=self._amend(block["amend"], names) if "amend" in block else None,
            skip=self._flag(block.get("skip")),
            no_result=self._flag(block.get("no_result")),
            refuse=self._word(block.get("refuse")),
        )

    def _names(
        self,
        text: Lines | Fields | Rows,
        patterns: Iterable[re.Pattern[str] | tuple[str, ...] | None],
        columns: dict[str, tuple[int, int]],
        *,
        ends: bool,
    ) -> set[str] | None:
        """The names that values of a rule may use; None where only the text itself has them (columns of a file)."""
        if isinstance(text, Rows) and not ends:
            return None
        names = set(self._remembered) | set(columns)
        for pattern in patterns:
            if isinstance(pattern, re.Pattern):
                names |= set(pattern.groupindex)
        if isinstance(text, Fields) and not ends:
            names |= {"tag", "value"}
        return names

    def _each(self, node: Node) -> re.Pattern[str] | tuple[str, ...]:
        if node.kind == "list":
            return tuple(self._word(item) for item in node.items)
        return self._pattern(node)

    def _slices(self, node: Node | None) -> dict[str, tuple[int, int]]:
        made = {}
        for key, value in self._pairs(node):
            first, dash, last = value.value.partition("-")
            if value.kind != "scalar" or not (first.isdigit() and (last.isdigit() or not last)):
                self._problem(value, "expected the first and last character, from 1, as 1-8, or 9- up to the end")
                continue
            begin = int(first)
            end = int(last) if last else 10_000 if dash else begin
            if not 1 <= begin <= end:
                self._problem(value, "expected the first character, from 1, and one that is not before it, as 1-8")
            made[key.value] = (begin, end)
        return made

    def _amend(self, node: Node, names: set[str] | None) -> tuple[Place, Template]:
        pairs = self._pairs(node)
        if len(pairs) != 1:
            self._problem(node, 'expected one field of the R record that is meant, as {R-3: "{name}"}')
            return Place("R", 3), Template(("",))
        place = self._place(pairs[0][0])
        if place.letter != "R":
            self._problem(pairs[0][0], "only R records can be amended")
        return place, self._template(pairs[0][1], names)

    def _section(self, node: Node) -> str:
        name = self._word(node)
        if name and name not in self._sections:
            self._problem(node, f"no rule begins a section '{name}'{_hint(name, self._sections)}")
        return name

    def _required(self, node: Node) -> tuple[Place, str]:
        return self._place(node), f"{node.file}:{node.line}"

    def _place(self, node: Node) -> Place:
        match = FIELD.fullmatch(node.value) if node.kind == "scalar" else None
        if match is None or match[1] not in LETTERS:
            self._problem(node, "expected a field of an E1394 record, as O-3 or R-3.4")
            return Place("R", 4)
        place = Place(match[1], int(match[2]), int(match[3] or 0))
        if not 3 <= place.field <= MAX_FIELD or match[3] == "0":
            self._problem(node, f"expected a field from 3 to {MAX_FIELD}; fields 1 and 2 are filled in by themselves")
        return place

    def _value(self, node: Node, names: set[str] | None) -> Value:
        if node.kind == "scalar":
            return Value(take=self._template(node, names))
        if node.kind == "map" and not any(key.value == "take" for key, _ in node.pairs):
            self._problem(node, 'expected a text, as "{name}" with quotes around it, or {take: "{name}", time: ...}')
            return Value(take=Template(("",)))
        block = self._block(node, "take", "time", "words")
        return Value(
            take=self._template(block["take"], names),
            times=tuple(self._time(item) for item in self._listed(block.get("time"))),
            words={key.value.strip(): self._word(value, empty=True) for key, value in self._pairs(block.get("words"))},
        )

    def _time(self, node: Node) -> str:
        text = self._word(node)
        letters = set(re.findall("%(.)", text))
        if not letters or letters - set("dmyYHIMSpbBjf%"):
            self._problem(node, "expected the parts of a time, as %d/%m/%Y %H:%M")
        elif not (letters & set("yY") and ("j" in letters or ("d" in letters and letters & set("mbB")))):
            what = "a time without day, month and year would become one of 1900"
            self._problem(node, f'{what}; put date and time together, as take: "{{date}} {{time}}"')
        elif "I" in letters and "p" not in letters:
            self._problem(node, "%I is an hour of 1 to 12, and needs %p; hours of 0 to 23 are %H")
        return text

    def _template(self, node: Node, names: set[str] | None) -> Template:
        parts = [""]
        text = self._word(node, empty=True)
        for piece in re.split(r"(\{\{|\}\}|\{[^{}]*\})", text):
            if piece in ("{{", "}}"):
                parts[-1] += piece[0]
            elif piece.startswith("{") and piece.endswith("}"):
                parts += [self._known(node, piece[1:-1].strip(), names), ""]
            elif "{" in piece or "}" in piece:
                self._problem(node, "a brace without its partner; write {{ or }} for the character itself")
            else:
                parts[-1] += piece
        return Template(tuple(parts))

    def _known(self, node: Node, name: str, names: set[str] | None) -> str:
        if names is not None and name not in names:
            there = f"; there are {', '.join(sorted(names))}" if names else "; name it as (?P<name>...)"
            self._problem(node, f"nothing is called '{name}' here{_hint(name, names) or there}")
        return name

    # -- scalars and blocks ------------------------------------------------------------------------------------

    # A key that is not given has no node: each of these then gives what that means.

    def _block(self, node: Node | None, *known: str) -> dict[str, Node]:
        made = {}
        for key, value in self._pairs(node):
            if key.value in known:
                made[key.value] = value
            else:
                hint = _hint(key.value, known) or f"; known here: {', '.join(known)}"
                self._problem(key, f"unknown key '{key.value}'{hint}")
        return made

    def _pairs(self, node: Node | None) -> "tuple[tuple[Node, Node], ...]":
        if node is None:
            return ()
        if node.kind != "map":
            self._problem(node, "expected keys and values")
        return node.pairs

    def _list(self, node: Node) -> tuple[Node, ...]:
        if node.kind != "list":
            self._problem(node, "expected a list, whose entries begin with -")
        return node.items

    def _listed(self, node: Node | None) -> tuple[Node, ...]:
        """A single value where a list is allowed is a list of one."""
        if node is None:
            return ()
        return (node,) if node.kind == "scalar" else self._list(node)

    def _word(self, node: Node | None, *, empty: bool = False) -> str:
        if node is None:
            return ""
        if node.kind != "scalar" or not (node.value or empty):
            self._problem(node, "expected a text")
            return ""
        return node.value

    def _bytes(self, node: Node | None) -> bytes:
        if node is None:
            return b""
        try:
            return wire(self._word(node))
        except ValueError as error:
            self._problem(node, str(error))
            return b""

    def _marks(self, node: Node | None) -> bytes:
        """Bytes of a framing, where the name of a control character alone is never meant as text."""
        text = node.value if node is not None else ""
        name = text.upper().replace("\\X", "0X")
        if node is not None and (name in NAMES or re.fullmatch("0X[0-9A-F]{2}", name)):
            shown_as = name.replace("0X", "0x")
            self._problem(
                node, f"this is the text {text}, letter by letter; for the control character write <{shown_as}>"
            )
        return self._bytes(node)

    def _characters(self, node: Node | None) -> str:
        return self._bytes(node).decode("latin-1")

    def _number(self, node: Node | None, low: int, high: int) -> int:
        if node is None:
            return 0
        text = self._word(node)
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            self._problem(node, f"expected a whole number from {low} to {high}")
            return low
        return int(text)

    def _duration(self, node: Node) -> float:
        match = DURATION.fullmatch(self._word(node))
        if match is None or not 0 < float(match[1]) * SECONDS[match[2]] <= 3600:
            self._problem(node, "expected a time of up to an hour, as 500ms, 2s or 5m")
            return 1.0
        return float(match[1]) * SECONDS[match[2]]

    def _pattern(self, node: Node) -> re.Pattern[str]:
        try:
            return re.compile(self._word(node))
        except (re.error, OverflowError) as error:
            self._problem(node, f"not a regular expression of Python: {error}")
            return re.compile("(?!)")

    def _flag(self, node: Node | None) -> bool:
        if node is not None and node.value != "true":
            self._problem(node, "expected true; leave it out where it does not hold")
        return node is not None

    def _choice(self, node: Node | None, known: tuple[C, ...], default: C | None = None) -> C:
        """``default``: the first of ``known``, where it is no other."""
        if node is None:
            return known[0] if default is None else default
        chosen = next((one for one in known if node.kind == "scalar" and node.value == one), None)
        if chosen is None:
            self._problem(node, f"expected {', '.join(known[:-1])} or {known[-1]}{_hint(node.value, known)}")
        return chosen or known[0]

    def _missing(self, node: Node, key: str, what: str) -> str:
        self._problem(node, f"{key} is missing; add {key}: {what}")
        return ""

    def _problem(self, node: Node, text: str) -> None:
        self._problems.append((node.line, node.column, node.problem(text)))


_CSV_KEYS = ("delimiter", "quote", "header", "skip", "skip_lines", "key", "optional", "ignore")


def _columns(text: Lines | Fields | Rows, rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """The columns that rules name, in order; each once."""
    if not isinstance(text, Rows):
        return ()
    known = {"column", "value"} | {name for rule in rules for name, _ in rule.remembers}
    named: list[str] = list(text.key)
    for rule in rules:
        if rule.at_end_of:
            continue
        groups = known | (set(rule.each.groupindex) if isinstance(rule.each, re.Pattern) else set())
        if isinstance(rule.each, tuple):
            named += rule.each
        templates = [value.take for _, value in (*rule.sets, *rule.remembers)]
        templates += [rule.amends[1]] if rule.amends is not None else []
        named += [name for template in templates for name in template.names if name not in groups]
        named += [name for name in rule.where if name not in groups]
    return tuple(name for name in dict.fromkeys(named) if name not in text.optional)


def _hint(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
