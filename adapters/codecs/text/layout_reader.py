"""Read a layout: a YAML node tree to `layout_language.Layout`, with every problem in it. Pure.

The language is described in ``docs/layouts.md``. `layout_nodes` reads single nodes, `layout_rules` the rules.
"""

from typing import Literal

from adapters.codecs.text.framing import CHECKSUMS, Checksum, Framing, shown
from adapters.codecs.text.layout_language import Fields, Layout, Lines, Rows
from adapters.codecs.text.layout_nodes import Node, NodeReader
from adapters.codecs.text.layout_rules import RuleReader, columns_of
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
