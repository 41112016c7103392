"""The compiled mappings of a site. Programs are made here, and channels are built of them (`engine.runtime.build`)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path

from engine.mapping import Program
from engine.mapping import load as load_mapping
from engine.mapping.conditions import EITHER
from engine.mapping.shipped import READER_TABLES, READERS
from engine.model.errors import ConfigError
from engine.model.message import Parsed
from engine.model.site.corrections import Sheet

_OF_RESULTS = ("ORU", "OUL", "E1394")  # beginnings of structures


def has_results(structures: Sequence[str]) -> bool:
    return any(one.startswith(_OF_RESULTS) for one in structures)


class Programs:
    """The compiled mappings of one site; channels with the same mapping and tables share one."""

    def __init__(self, search: Sequence[Path]) -> None:
        self._search = search
        self._made: dict[tuple[str, tuple[tuple[str, tuple[str | Sheet, ...]], ...]], Program] = {}
        self._wanted: list[tuple[str, Mapping[str, tuple[str | Sheet, ...]]]] = []

    def all(self) -> list[Program]:
        return [*self._made.values()]

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
        made = self.reader_of(parsed.format, tables)
        return made if made is not None and parsed.structure in made.structures else None

    def reader_of(self, message_format: str, tables: Mapping[str, tuple[str | Sheet, ...]]) -> Program | None:
        """As `reader`, of a format; it may read other structures alone."""
        if message_format not in READERS:
            return None
        try:
            return self.reading(message_format, tables)
        except ConfigError:
            return self.get(READERS[message_format], {})

    def want_reader(self, reads: str, tables: Mapping[str, tuple[str | Sheet, ...]]) -> None:
        """Messages with results may come, in a format or in either."""
        self._wanted += [(one, tables) for one in READERS if reads in (one, EITHER)]

    def make_readers(self) -> None:
        """Make all that are wanted, in part of a second each. The first message need not wait for it then."""
        for wanted in self._wanted:
            with suppress(ConfigError):  # the log says it of each message that a wrong one should read
                self.reader_of(*wanted)

    def reading(self, message_format: str, tables: Mapping[str, tuple[str | Sheet, ...]]) -> Program:
        """What reads the facts of a format, with the tables of a channel. Raises ConfigError: they do not fit it."""
        own = {table: files for table, files in tables.items() if table in READER_TABLES[message_format]}
        return self.get(READERS[message_format], own)
