"""Use analyzer packs: find the pack of a message, check whether a pack is sound, and read its suggestions.

`engine.config.pack` defines and reads packs. The conditions of a pack are those of routes (`when:`), so they mean the
same here and in a channel file.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from engine.config import registry
from engine.config.load import Site
from engine.config.pack import (
    CHANNEL_FILE,
    CODES_FILE,
    FOLDER,
    PACK_FILE,
    SUGGESTIONS_FILE,
    Pack,
    find_pack,
    packs,
    read_pack,
)
from engine.config.site import mapping_path
from engine.mapping.code_tables.suggestions import Suggestion, doubt, read_suggestions
from engine.mapping.code_tables.table_files import NO_RESULT, read_table
from engine.mapping.code_tables.tables import Row, Table
from engine.mapping.conditions import Condition, compile_condition
from engine.mapping.loading import kinds_of
from engine.model.errors import ConfigError
from engine.model.message import Parsed


class LoincGaps(NamedTuple):
    """The codes of a pack's table without a LOINC code: those with a suggestion, and those without."""

    analyzer: str
    suggested: Sequence[str]
    unknown: Sequence[str]


def suggestions_of(pack: Pack) -> list[Suggestion]:
    """In the order of the file; none where the pack has no such file.

    Raises:
        ConfigError: the file is wrong.
    """
    found, problems = read_of(pack)
    if problems:
        raise ConfigError(*problems)
    return found


def suggested(site: Site, channel: str | None) -> list[Suggestion]:
    """The suggestions of the pack that a channel names, none where it names none; without a channel, of each pack that
    one names, by the name of the pack.

    Raises:
        ConfigError: a pack, or its file, is wrong.
    """
    named = sorted(
        {one.analyzer for name, one in site.channels.items() if channel in (None, name) and one.analyzer is not None}
    )
    found: list[Suggestion] = []
    for name in named:
        with suppress(KeyError):  # its folder was removed since the site was read
            found += suggestions_of(find_pack(name, site.folder))
    return found


def read_of(pack: Pack) -> tuple[list[Suggestion], list[str]]:
    """The sound rows, and the problems of the others, each with its place."""
    name = pack.place(SUGGESTIONS_FILE)
    text, problems = file_text(pack.suggestions, name)
    if text is None:
        return [], problems
    found, findings = read_suggestions(text, pack.name)
    return found, [finding.at(name) for finding in findings]


def file_text(path: Path | None, name: str) -> tuple[str | None, list[str]]:
    """The text of a pack's file, None where there is none; and why it cannot be read."""
    if path is None:
        return None, []
    try:
        return path.read_bytes().decode("utf-8-sig"), []
    except (OSError, UnicodeDecodeError) as error:
        return None, [f"{name}:1:1: cannot be read as UTF-8 ({type(error).__name__}); save it as UTF-8"]


__all__ = ["FOLDER", "Pack", "PackWords", "check_pack", "codes_of", "find_pack", "packs", "read_pack", "recognise"]

LOOKED_AT = 64 * 1024  # bytes of a payload that patterns search: every sign is at the beginning of a message
KEY = ("code", "unit_in")


@dataclass(frozen=True, slots=True)
class PackWords:
    """What a feature knows of an analyzer's pack.

    Attributes:
        document: names of the document of `-o json`.
        lines: on codes that have no LOINC code, for people.
    """

    document: Mapping[str, Any]
    lines: Sequence[str]


def recognise(given: Parsed | bytes, known: Iterable[Pack] | None = None) -> list[tuple[Pack, str]]:
    """The packs whose signs a message shows, and the evidence, in words.

    Args:
        given: a parsed message (conditions are asked), or raw bytes (patterns are searched for).
        known: the packs to ask, in this order; without it all that ship.
    """
    found = []
    for pack in packs() if known is None else known:
        for at, sign in enumerate(pack.config.recognise):
            if isinstance(given, Parsed):
                if sign.when is None or given.format != pack.config.format:
                    continue
                shown = _condition(sign.when, pack.config.format, _place(pack, at))(given)
            else:
                pattern = sign.bytes_match
                shown = pattern is not None and _pattern(pattern).search(given[:LOOKED_AT]) is not None
            if shown:
                found.append((pack, sign.why))
                break
    return found


@lru_cache(maxsize=512)
def _condition(text: str, message_format: str, place: str) -> Condition:
    return compile_condition(text, message_format, place=place)


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[bytes]:
    return re.compile(text.encode("latin-1"), re.DOTALL)


def _place(pack: Pack, at: int) -> str:
    """The place of a sign's condition."""
    listed = pack.node.get("recognise")
    node = listed.items[at] if listed is not None and at < len(listed.items) else pack.node
    return (node.get("when") or node.get("bytes_match") or node).place


def codes_of(pack: Pack) -> list[Row]:
    """The rows of its code table, in the order of the file.

    Raises:
        ConfigError: the table is wrong.
    """
    table, problems = _table(pack)
    if problems:
        raise ConfigError(*problems)
    return table.rows if table is not None else []


def _table(pack: Pack) -> tuple[Table | None, list[str]]:
    name = pack.place(CODES_FILE)
    text, problems = file_text(pack.codes, name)
    if text is None:
        return None, problems
    table, findings = read_table(text, "analytes", name, KEY)
    return table, [finding.at(name) for finding in findings if not finding.unfinished]  # `check_pack` says it its way


def loinc_gaps(pack: Pack) -> LoincGaps:
    """The codes of its table that are results and have no LOINC code with any unit.

    Raises:
        ConfigError: a file of it is wrong.
    """
    rows = codes_of(pack)
    known = {row.cells["code"] for row in rows if row.code or row.cells.get("type") == NO_RESULT}
    open_codes = list(dict.fromkeys(row.cells["code"] for row in rows if row.cells["code"] not in known))
    suggested = {one.code for one in suggestions_of(pack)}
    return LoincGaps(
        pack.name,
        [code for code in open_codes if code in suggested],
        [code for code in open_codes if code not in suggested],
    )


def _has_dialogue(pack: Pack) -> bool:
    found = registry.load(registry.DIALOGUES, pack.config.format).dialogue(pack.config.gives.dialect)
    return found is not None


def check_pack(pack: Pack) -> Iterator[str]:
    """The problems of a pack beyond its `pack.yaml`, each with its place and what to do."""
    for at, sign in enumerate(pack.config.recognise):
        try:
            if sign.when is not None:
                _condition(sign.when, pack.config.format, _place(pack, at))
            if sign.bytes_match is not None:
                _pattern(sign.bytes_match)
        except ConfigError as error:
            yield from error.problems
        except (re.error, UnicodeEncodeError) as error:
            yield f"{_place(pack, at)}: this is no regular expression over bytes: {error}"
    if pack.config.orders is not None and not _has_dialogue(pack):
        yield f"{pack.place(PACK_FILE)}: orders: its dialect does not say how it asks; take the key out"
    table, problems = _table(pack)
    yield from problems
    name = pack.place(CODES_FILE)
    for row in table.rows if table is not None else ():
        if not row.cells.get("source"):
            yield f"{name}:{row.line}:1: without a source; write how it is known what this code means"
        if row.code is None and not row.cells.get("note"):
            yield f"{name}:{row.line}:1: without a LOINC code and without a note; write why there is none"
        if row.code is not None and "display" not in row.cells:
            yield f"{name}:{row.line}:1: a LOINC code without its name; add display"
    yield from _suggestion_problems(pack)
    if f"\nanalyzer: {pack.name}" not in f"\n{pack.template}":
        yield f"{pack.place(CHANNEL_FILE)}:1:1: does not name its pack; add analyzer: {pack.name}"


def _suggestion_problems(pack: Pack) -> Iterator[str]:
    found, problems = read_of(pack)
    yield from problems
    kinds = kinds_of(mapping_path(None)) if found else None
    for one in found:
        if kinds is not None and (text := doubt(one, kinds)):
            yield f"{pack.place(SUGGESTIONS_FILE)}:{one.line}:1: {text}"


def own_packs(site: Path) -> Iterator[tuple[Path, list[str]]]:
    """The packs in a site's own folder, each with its problems."""
    base = site / FOLDER
    for folder in sorted(base.iterdir()) if base.is_dir() else ():
        if folder.is_dir() and not folder.name.startswith("."):
            try:
                yield folder, list(check_pack(read_pack(folder)))
            except ConfigError as error:
                yield folder, list(error.problems)
