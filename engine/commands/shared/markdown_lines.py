"""Markdown as plain text for a terminal: wrapped paragraphs, and tables that fit."""

import textwrap
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from engine.views.view import Head

WIDEST = 100  # longer lines are hard to read
GAP = "  "


def lines(text: str, width: int) -> Iterator[str]:
    """The lines; a heading is a `Head`."""
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(text)
    return _Writer(tokens, min(width, WIDEST)).lines()


class _Writer:
    def __init__(self, tokens: Sequence[Token], width: int) -> None:
        self._tokens = tokens
        self._width = width
        self._lists: list[int | None] = []  # the number of the next item; None: a dash
        self._mark = ""  # of an item whose first line is to come

    def lines(self) -> Iterator[str]:
        number, first = 0, True
        while number < len(self._tokens):
            token = self._tokens[number]
            match token.type:
                case "bullet_list_open":
                    self._lists.append(None)
                case "ordered_list_open":
                    self._lists.append(int(token.attrGet("start") or 1))
                case "bullet_list_close" | "ordered_list_close":
                    self._lists.pop()
                case "list_item_open":
                    self._mark = self._next_mark()
                case "table_open":
                    end = next(at for at in range(number, len(self._tokens)) if self._tokens[at].type == "table_close")
                    yield from ("", *self._table(self._tokens[number:end]))
                    number = end
                case "fence" | "code_block":
                    yield from ("", *textwrap.indent(token.content.rstrip("\n"), self._indent + "    ").splitlines())
                case "inline":
                    opened = self._tokens[number - 1]
                    if opened.type == "heading_open":
                        yield from (*(() if first else ("",)), Head(_inline(token)))
                    else:
                        yield from (*(() if opened.hidden else ("",)), *self._paragraph(_inline(token)))
                    first = False
            number += 1

    @property
    def _indent(self) -> str:
        return "  " * len(self._lists)

    def _next_mark(self) -> str:
        at = self._lists[-1]
        if at is None:
            return "- "
        self._lists[-1] = at + 1
        return f"{at}. "

    def _paragraph(self, text: str) -> Iterator[str]:
        before = "  " * max(len(self._lists) - 1, 0)
        rest = self._indent if self._lists else ""
        mark, self._mark = self._mark or ("" if not self._lists else "  "), ""
        yield from textwrap.wrap(
            text,
            self._width,
            initial_indent=before + mark,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _table(self, tokens: Sequence[Token]) -> Iterator[str]:
        rows: list[list[str]] = []
        for number, token in enumerate(tokens):
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline" and tokens[number - 1].type in ("th_open", "td_open"):
                rows[-1].append(_inline(token))
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        room = self._width - sum(widths[:-1]) - len(GAP) * len(widths[:-1])
        if room >= self._width // 2 or room >= widths[-1]:
            for number, row in enumerate(rows):
                begins = GAP.join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False))
                last = textwrap.wrap(row[-1], room, break_long_words=False, break_on_hyphens=False) or [""]
                below = " " * len(begins)
                if number or any(row):
                    made = [f"{begins if not at else below}{GAP}{part}".rstrip() for at, part in enumerate(last)]
                    yield from map(Head, made) if not number else made
            return
        yield Head(GAP.join(filter(None, rows[0])))
        for row in rows[1:]:
            yield from textwrap.wrap(GAP.join(filter(None, row[:-1])), self._width, break_on_hyphens=False)
            yield from textwrap.wrap(
                row[-1], self._width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
            )


def _inline(token: Token) -> str:
    """Without marks; the address of a link to another server behind its words."""
    made, address = "", ""
    for one in token.children or ():
        if one.type in ("text", "code_inline"):
            made += one.content
        elif one.type in ("softbreak", "hardbreak"):
            made += " "
        elif one.type == "link_open":
            address = str(one.attrGet("href") or "")
        elif one.type == "link_close" and "://" in address and not made.endswith(address):
            made += f" <{address}>"
    return made
