"""Rows to CSV (RFC 4180): a header, a line a row, CRLF after each; UTF-8 without a byte order mark.

A cell is quoted where it holds the delimiter, a quotation mark, a line end or an outer blank. Spreadsheets take a cell
that begins with ``= + - @``, a tab or a line end for a formula, quoted or not, and some formulas run programs; so such
a text gets an apostrophe in front, unless it is a number (CWE-1236). ``guard: no`` leaves it out, for receivers that
are no spreadsheets and would keep the apostrophe of ``'++``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from engine.mapping.language.targets import CsvForm

LINE_END = "\r\n"
_FORMULA_SIGNS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four: full-width, which spreadsheets accept
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d+)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_CONTROLS = {code: "\ufffd" for code in range(0x20) if chr(code) not in "\t\r\n"}


def lines(columns: Sequence[str], rows: Iterable[Mapping[str, str]], form: CsvForm) -> bytes:
    """The file: every row has every column, in one order."""
    found = []
    if form.header:
        found.append(form.delimiter.join(_cell(name, form) for name in columns))
    found += [form.delimiter.join(_cell(row.get(name, ""), form) for name in columns) for row in rows]
    return "".join(line + LINE_END for line in found).encode("utf-8", "replace")


def _cell(text: str, form: CsvForm) -> str:
    if text.isalnum():
        return text
    if not text.isprintable():
        text = text.translate(_CONTROLS)
    if form.guard and text.lstrip(" ").startswith(_FORMULA_SIGNS) and not _NUMBER.fullmatch(text):
        text = "'" + text
    if form.delimiter in text or '"' in text or "\n" in text or "\r" in text or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text
