"""The suggestions of a pack, and those for a channel of a site."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from engine.config.load import Site
from engine.config.pack import SUGGESTIONS_FILE, Pack, find_pack
from engine.mapping.code_tables.suggestions import Suggestion, read_suggestions
from engine.model.errors import ConfigError


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
