"""Read a layout: a YAML node tree to `layout_language.Layout`, with every problem in it. Pure.

The language is described in ``docs/layouts.md``. `layout_nodes` reads single nodes.
"""

import re
from collections.abc import Iterable
from typing import Literal

from adapters.codecs.text.framing import CHECKSUMS, Checksum, Framing, shown
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
from adapters.codecs.text.layout_nodes import Node, NodeReader, hint
from engine.model.errors import ConfigError

MAX_RULES = 500
# The keys of `text`, by the kind of text.
TEXT_KEYS = {
    "lines": ("ends",),
    "fields": ("separator", "tag", "until", "end"),
    "csv": ("delimiter", "quote", "header", "skip", "skip_lines", "key", "optional", "ignore"),
}


def read_layout(root: Node) -> Layout:
    """The layout of one file.

    Raises:
        ConfigError: all that is wrong with it.
    """
    read = NodeReader()
    block = read.block(root, "layout", "about", "evidence", "framing", "text", "decimal", "required", "unread", "rules")
    name = read.word(read.needed(block, root, "layout", "the layout's name"))
    text_node = read.needed(block, root, "text", "how a text is cut into pieces, as text: {as: lines}")
    text = _text(read, text_node) if text_node is not None else Lines()
    listed = read.needed(block, root, "rules", "a list of rules")
    nodes = read.items(listed)
    if listed is not None and len(nodes) > MAX_RULES:
        read.problem(listed, f"more than {MAX_RULES} rules; use fewer, as find: with (A|B|C)")
    reader = RuleReader(read, text, nodes)
    rules = tuple(reader.rule(node) for node in nodes[:MAX_RULES])
    made = Layout(
        name=name,
        text=text,
        rules=rules,
        framing=_framing(read, block["framing"]) if "framing" in block else None,
        decimal=read.choice(block.get("decimal"), (".", ",")),
        required=tuple((reader.place(node), f"{node.file}:{node.line}") for node in read.listed(block.get("required"))),
        unread=read.choice(block.get("unread"), ("keep", "refuse")),
        columns=columns_of(text, rules),
        at=f"{root.file}:{root.line}:{root.column}",
    )
    if read.problems:
        raise ConfigError(*read.problems)
    return made


def _framing(read: NodeReader, node: Node) -> Framing:
    block = read.block(node, "start", "end", "idle", "lines", "checksum", "answer", "replies", "between", "timeout")
    start = read.marks(block.get("start"))
    end = read.marks(block.get("end"))
    lines = read.number(block.get("lines"), 1, 10_000)
    idle = read.duration(block["idle"]) if "idle" in block else None
    if sum(key in block for key in ("end", "idle", "lines")) != 1:
        read.problem(node, "give one of end, idle and lines: what ends a text")
    if lines and not start:
        read.problem(block["lines"], "lines needs start; else a text that lost a line would end in the next one")
    if start and end and end in start:
        read.problem(block["start"], "start holds the end bytes; a text would end where it begins")
    checksum = _checksum(read, block["checksum"]) if "checksum" in block else None
    if checksum is not None and not end:
        read.problem(block["checksum"], "a checksum needs end bytes, so that its place is known")
    answer = read.block(block.get("answer"), "good", "bad")
    good, bad = read.marks(answer.get("good")), read.marks(answer.get("bad"))
    if "answer" in block and not good:
        read.problem(block["answer"], "answer needs good: what the analyzer waits for, as good: <ACK>")
    replies = {}
    for key, value in read.pairs(block.get("replies")):
        byte = read.octets(key)
        if len(byte) != 1 or byte[0] >= 32 or byte in (b"\r", b"\n", b"\t"):
            read.problem(key, "expected one control byte, as <ENQ>")
        elif byte in start or byte in end:
            read.problem(key, f"{shown(byte)} is part of start or end; it cannot ask for a reply as well")
        else:
            replies[byte[0]] = read.marks(value)
    return Framing(
        start=start,
        end=end,
        idle=idle,
        lines=lines,
        checksum=checksum,
        good=good,
        bad=bad,
        replies=replies,
        between=b"\0\r\n" + read.marks(block.get("between")),
        timeout=read.duration(block["timeout"]) if "timeout" in block else 60.0,
    )


def _checksum(read: NodeReader, node: Node) -> Checksum:
    block = read.block(node, "kind", "covers", "place", "written", "check")
    kind = read.choice(block.get("kind"), tuple(CHECKSUMS))
    covers = {read.choice(item, ("start", "text", "end")) for item in read.listed(block.get("covers"))}
    if covers and "text" not in covers:
        read.problem(block["covers"], "covers needs text, as covers: [text, end]")
    place: Literal["before", "after"] = read.choice(block.get("place"), ("before", "after"), "after")
    written: Literal["hex", "byte"] = read.choice(block.get("written"), ("hex", "byte"))
    if place == "before" and written == "byte":
        read.problem(block["written"], "a byte before the end bytes could be an end byte itself; only hex can be")
    check: Literal["required", "warn"] = read.choice(block.get("check"), ("required", "warn"))
    return Checksum(kind=kind, start="start" in covers, end="end" in covers, place=place, written=written, check=check)


def _text(read: NodeReader, node: Node) -> Lines | Fields | Rows:
    kind = read.choice({key.value: value for key, value in node.pairs}.get("as"), tuple(TEXT_KEYS), "")
    if not kind:
        read.missing(node, "as", "lines, fields or csv")
        kind = "lines"
    block = read.block(node, "as", *TEXT_KEYS[kind])
    if kind == "lines":
        return Lines(ends=read.characters(block.get("ends")))
    if kind == "fields":
        separator = read.characters(block.get("separator"))
        if not separator:
            read.missing(node, "separator", "the text between two fields, as <RS>")
        if ("tag" in block) == ("until" in block):
            read.problem(node, "give tag: how many characters, or until: what ends a tag, as until: '='")
        return Fields(
            separator=separator or "\n",
            tag=read.number(block.get("tag"), 1, 32),
            until=read.characters(block.get("until")),
            end=read.characters(block.get("end")),
        )
    return _rows(read, block)


def _rows(read: NodeReader, block: dict[str, Node]) -> Rows:
    def one(key: str, default: str) -> str:
        if key not in block:
            return default
        text = read.characters(block[key])
        if len(text) != 1:
            read.problem(block[key], "expected one character, as ; or <TAB>")
            return default
        return text

    delimiter, quote = one("delimiter", ","), one("quote", '"')
    if delimiter == quote or {delimiter, quote} & set("\r\n"):
        read.problem(block.get("quote", block["as"]), "delimiter and quote are two characters, and no line ends")
    return Rows(
        delimiter=delimiter,
        quote=quote,
        header=read.choice(block.get("header"), ("true", "false")) == "true",
        skip=read.number(block.get("skip"), 0, 1000),
        skip_lines=read.pattern(block["skip_lines"]) if "skip_lines" in block else None,
        key=read.words(block.get("key")),
        optional=read.words(block.get("optional")),
        ignore=read.words(block.get("ignore")),
    )


FIELD = re.compile(r"([A-Z])-([0-9]{1,2})(?:\.([0-9]{1,2}))?")
MAX_FIELD = 60  # of a record
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


class RuleReader:
    """Reads rules one by one, and knows the names and sections that any of them gives."""

    def __init__(self, read: NodeReader, text: Lines | Fields | Rows, nodes: Iterable[Node]) -> None:
        """``nodes``: of all rules; each may use what another gives, also a later one."""
        self._read = read
        self._problem = read.problem
        self._text = text
        given = [pair for node in nodes for pair in node.pairs]
        self._remembered = {name.value for key, value in given if key.value == "remember" for name, _ in value.pairs}
        self._sections = {value.value for key, value in given if key.value == "section"}

    def rule(self, node: Node) -> Rule:
        read = self._read
        block = read.block(node, *RULE_KEYS)
        allowed = SELECTORS[type(self._text)]
        given = [key for key in ("line", "find", "begins", "tag", "each", "at_end_of") if key in block]
        for selector in (*given, "columns"):
            if selector in block and selector not in allowed:
                wanted = " or ".join(allowed)
                self._problem(block[selector], f"{selector} is not for this kind of text; use {wanted}")
        if len(given) > 1:
            self._problem(node, f"a rule takes one kind of piece; {given[0]} and {given[1]} are two")
        if "value" in block and "tag" not in block:
            self._problem(block["value"], "value goes with tag, and says which values are meant; elsewhere use if")
        if not given and "columns" not in block and not isinstance(self._text, Rows):
            self._problem(node, f"says nothing about what it takes; give {', '.join(allowed[:-1])} or {allowed[-1]}")
        if not any(key in block for key in ACTIONS):
            self._problem(node, f"does nothing; give one of {', '.join(ACTIONS)}")
        line, find, value = (read.pattern(block[key]) if key in block else None for key in ("line", "find", "value"))
        columns = self._slices(block.get("columns"))
        each = self._each(block["each"]) if "each" in block else None
        patterns = [one for one in (line, find, value, each) if isinstance(one, re.Pattern)]
        groups = [name for pattern in patterns for name in pattern.groupindex]
        names = self._names([*columns, *groups], ends="at_end_of" in block)
        new = read.choice(block.get("new"), tuple(OPENED_BY_RULES), "")
        sets = []
        for key, given_value in read.pairs(block.get("set")):
            place = self.place(key)
            sets.append((place, self._value(given_value, names)))
            if place.letter in "CM" and new != place.letter:
                self._problem(key, f"{place} needs new: {place.letter} in the same rule")
            if "amend" in block and place.letter != "R":
                self._problem(key, "a rule with amend sets fields of R only")
        return Rule(
            at=f"{node.file}:{node.line}",
            line=line,
            find=find,
            begins=read.characters(block.get("begins")),
            columns=columns,
            tag=read.word(block.get("tag")),
            value=value,
            each=each,
            at_end_of=read.choice(block.get("at_end_of"), ("P", "O", "R"), ""),
            sections=tuple(self._section(item) for item in read.listed(block.get("in"))),
            section=read.word(block.get("section")),
            where={
                self._known(key, key.value, names): read.pattern(pattern)
                for key, pattern in read.pairs(block.get("if"))
            },
            new=new,
            sets=tuple(sets),
            remembers=tuple(
                (read.word(key), self._value(given_value, names))
                for key, given_value in read.pairs(block.get("remember"))
            ),
            amends=self._amend(block["amend"], names) if "amend" in block else None,
            skip=read.flag(block.get("skip")),
            no_result=read.flag(block.get("no_result")),
            refuse=read.word(block.get("refuse")),
        )

    def _names(self, given: Iterable[str], *, ends: bool) -> set[str] | None:
        """The names that values of a rule may use; None where only the text itself has them (columns of a file).

        Args:
            given: the names that the rule itself gives.
            ends: it runs at the end of a record.
        """
        if isinstance(self._text, Rows) and not ends:
            return None
        return self._remembered.union(given, ("tag", "value") if isinstance(self._text, Fields) and not ends else ())

    def _each(self, node: Node) -> re.Pattern[str] | tuple[str, ...]:
        return self._read.words(node) if node.kind == "list" else self._read.pattern(node)

    def _slices(self, node: Node | None) -> dict[str, tuple[int, int]]:
        made = {}
        for key, value in self._read.pairs(node):
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
        pairs = self._read.pairs(node)
        if len(pairs) != 1:
            self._problem(node, 'expected one field of the R record that is meant, as {R-3: "{name}"}')
            return Place("R", 3), Template(("",))
        place = self.place(pairs[0][0])
        if place.letter != "R":
            self._problem(pairs[0][0], "only R records can be amended")
        return place, self._template(pairs[0][1], names)

    def _section(self, node: Node) -> str:
        name = self._read.word(node)
        if name and name not in self._sections:
            self._problem(node, f"no rule begins a section '{name}'{hint(name, self._sections)}")
        return name

    def place(self, node: Node) -> Place:
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
        block = self._read.block(node, "take", "time", "words")
        return Value(
            take=self._template(block["take"], names),
            times=tuple(self._time(item) for item in self._read.listed(block.get("time"))),
            words={
                key.value.strip(): self._read.word(value, empty=True)
                for key, value in self._read.pairs(block.get("words"))
            },
        )

    def _time(self, node: Node) -> str:
        text = self._read.word(node)
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
        text = self._read.word(node, empty=True)
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
            self._problem(node, f"nothing is called '{name}' here{hint(name, names) or there}")
        return name


def columns_of(text: Lines | Fields | Rows, rules: tuple[Rule, ...]) -> tuple[str, ...]:
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
