"""The help as HTML for the status page: escaped, with anchors, without scripts or styles of its own.

Run, it writes all of it as lines of JSON, one for each page or topic: the daemon's page, which imports nothing for it.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache, partial
from html import escape

import orjson
from markdown_it import MarkdownIt
from markdown_it.token import Token

from engine.model.process.priority import give_way
from engine.views.help import library
from engine.views.help.library import LANGUAGE, Shown, anchor_in, linked
from engine.views.help.markdown import Anchors, plain, sections

WAITED_FOR = 5  # nice: a person waits for it
FEW = 3  # parts of a page, of which no list is needed
ROOT = "/help"
_PAGE = re.compile(r"([\w-]+)\.md(#.*)?")


def everything() -> Iterator[Shown]:
    """The index, and every page and topic."""
    found = {name: library.document(name) for name in (library.INDEX, *library.names())}
    anchor = partial(anchor_in, lambda name: found[name].text)
    return (_shown(one, linked(one.text, anchor)) for one in found.values())


def _shown(one: library.Document, text: str) -> Shown:
    lines = one.text.splitlines()
    found = [
        (part.anchor, part.title, plain("\n".join(lines[part.begins + 1 : part.ends])).strip())
        for part in sections(one.text)
    ]
    return Shown(name=one.name, title=one.title, line=one.line, html=html(text), sections=found)


def html(text: str) -> str:
    """Markdown as HTML; tags in it are text."""
    reader = _reader()
    tokens, anchors = reader.parse(text), Anchors()
    heads: list[str] = []  # of the table at hand
    column = 0
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchors.of(tokens[number + 1].content))
        elif token.type == "thead_open":
            heads = []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "th_open":
            heads.append(plain(tokens[number + 1].content))
            if not heads[-1]:  # a heading without words is a cell
                token.tag = _closing(tokens, number).tag = "td"
        elif token.type == "td_open":
            if column and heads[column]:
                token.attrSet("data-label", heads[column])
            column += 1
        for inner in token.children or ():
            if inner.type == "link_open" and (page := _PAGE.fullmatch(str(inner.attrGet("href") or ""))):
                place = "" if page[1] == library.INDEX else f"/{page[1]}"
                inner.attrSet("href", f"{ROOT}{place}{LANGUAGE}{page[2] or ''}")
    made: str = reader.renderer.render(tokens, reader.options, {})
    return _with_contents(text, made.replace("<pre>", '<pre tabindex="0">'))  # it scrolls, also by keys


def _with_contents(text: str, made: str) -> str:
    """A list of the parts below the heading of a page that has many."""
    parts = [one for one in sections(text) if one.level == 2]
    if len(parts) < FEW:
        return made
    listed = "".join(f'<li><a href="#{one.anchor}">{escape(one.title)}</a></li>\n' for one in parts)
    head, mark, rest = made.partition("</h1>\n")
    return f'{head}{mark}<details class="contents"><summary>Contents</summary>\n<ul>\n{listed}</ul>\n</details>\n{rest}'


def _closing(tokens: Sequence[Token], number: int) -> Token:
    return next(one for one in tokens[number:] if one.type == "th_close")


@cache
def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


if __name__ == "__main__":
    give_way(WAITED_FOR)
    for one in everything():
        sys.stdout.buffer.write(orjson.dumps(one) + b"\n")
