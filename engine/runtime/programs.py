"""The compiled mappings of a site. Programs are made here, and channels are built of them (`engine.runtime.build`)."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from engine.mapping import Program
from engine.mapping import load as load_mapping
from engine.mapping.shipped import READER_TABLES, READERS
from engine.model.errors import ConfigError
from engine.model.message import Parsed
from engine.model.site.corrections import Sheet


class Programs:
    """The compiled mappings of one site; channels with the same mapping and tables share one."""

    def __init__(self, search: Sequence[Path]) -> None:
        self._search = search
        self._made: dict[tuple[str, tuple[tuple[str, tuple[str | Sheet, ...]], ...]], Program] = {}

    def get(self, name: str, tables: Mapping[str, tuple[str | Sheet, ...]]) -> Program:
        """Raises ConfigError, on every call for a faulty mapping."""
        key = (name, tuple(sorted(tables.items(), key=itemgetter(0))))
        if key not in self._made:
            self._made[key] = load_mapping(name, self._search, tables=tables)
        return self._made[key]

    def reader(self, tables: Mapping[str, tuple[str | Sheet, ...]], parsed: Parsed) -> Program | None:
        """What reads the facts of a message; None: nothing does. It is made when it is first asked for, and without
        tables of the site that are none of its own.

        Raises:
            ConfigError: it is wrong.
        """
        if parsed.format not in READERS:
            return None
        try:
            made = self.reading(parsed.format, tables)
        except ConfigError:
            made = self.get(READERS[parsed.format], {})
        return made if parsed.structure in made.structures else None

    def reading(self, message_format: str, tables: Mapping[str, tuple[str | Sheet, ...]]) -> Program:
        """What reads the facts of a format, with the tables of a channel. Raises ConfigError: they do not fit it."""
        own = {table: files for table, files in tables.items() if table in READER_TABLES[message_format]}
        return self.get(READERS[message_format], own)
