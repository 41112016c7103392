"""The shipped mappings are compiled once in each process of tests: tests load them by the thousand.

Their files do not change while tests run, and a program is the same for each who has it. A mapping or table of a site's
own is read each time, as is one of a test that has the marker `compiles`. Its code is compiled once for one source:
tables and other constants are not in that (`engine.mapping.generated.Uncompiled`).

A shipped mapping that is loaded with other tables, as each pack has them, gets the source that was generated before,
where these have the same keys and columns: the compiler sees no more of a table. `tests/tooling/test_loaded_once.py`
compares it with what is generated anew.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import CodeType
from typing import Any
from unittest import mock

from engine.mapping import generated, loading
from engine.mapping.code_tables.tables import Table
from engine.mapping.compiler import compilation
from engine.mapping.generated import Generated, Uncompiled
from engine.mapping.program import Program
from tests.support.shipped import ANALYZERS, MAPPINGS, OWN

SHIPPED = frozenset({MAPPINGS, ANALYZERS, OWN})  # and code tables of tests
_compile = loading._load
_python = compilation.compiled
_kept: dict[Hashable, Program] = {}
_code: dict[bytes, tuple[CodeType, ...]] = {}  # hash of a source -> its code
_source: dict[Hashable, "Made"] = {}  # mapping, shape of its tables, structure and way -> what was generated
_mapping: ContextVar[Hashable] = ContextVar("mapping", default=None)  # the shipped one that is being loaded


def _load(name_or_path: str | Path, search: Sequence[Path], tables: loading.Chosen) -> Program:
    folders = tuple(one for one in map(Path.resolve, map(Path, search)) if one in SHIPPED or one.is_dir())
    own = Path(name_or_path).suffix or not SHIPPED.issuperset(folders)
    chosen = tuple(sorted((name, (one,) if isinstance(one, str) else tuple(one)) for name, one in tables.items()))
    if own or not all(isinstance(one, str) and _ships(one) for _, files in chosen for one in files):
        return _compile(name_or_path, search, tables)
    key = (name_or_path, folders, chosen)
    if key not in _kept:
        before = _mapping.set((name_or_path, folders))
        try:
            _kept[key] = _compile(name_or_path, search, tables)
        finally:
            _mapping.reset(before)
    return _kept[key]


@dataclass(frozen=True)
class Made:
    """What `loading._Compiler.compile` gave, and what the compiler knew after it.

    Attributes:
        tables: those whose rows are among the constants.
    """

    uncompiled: Uncompiled
    read: frozenset[str]
    repetitions: dict[str, list[tuple[int, int]]]
    tables: dict[str, Table]
    known: dict[str, Any]

    def with_tables(self, tables: dict[str, Table]) -> Generated:
        now: dict[int, object] = {}
        for name, table in self.tables.items():
            now |= {id(table): tables[name], id(table.exact): tables[name].exact}
        constants = {name: now.get(id(value), value) for name, value in self.uncompiled.constants.items()}
        found = Generated(Uncompiled(self.uncompiled.source, constants), self.read)
        found.repetitions = self.repetitions
        return found


class OnceCompiler(loading._Compiler):
    """Generates the source of one structure of a shipped mapping once for all tables of a shape."""

    KNOWN = ("_used_fragments", "_used_tables", "settings_read", "report_numbers", "columns")

    def __init__(self, mapping: Any, libraries: Any, tables: dict[str, Table], problems: Any) -> None:
        super().__init__(mapping, libraries, tables, problems)
        shape = frozenset((name, one.key, frozenset(one.columns)) for name, one in tables.items())
        self._of = _mapping.get() and (_mapping.get(), shape)

    def compile(self, structure: str, *, traced: bool) -> Generated:
        key = (self._of, structure, traced)
        if self._of is not None and key in _source:
            made = _source[key]
            for name in self.KNOWN:
                getattr(self, name).update(made.known[name])
            self.reads_aside = self.reads_aside or made.known["reads_aside"]
            return made.with_tables(self._tables)
        said = len(self._problems.errors) + len(self._problems.warnings)
        found = super().compile(structure, traced=traced)
        quiet = len(self._problems.errors) + len(self._problems.warnings) == said
        if self._of is not None and quiet and found.uncompiled is not None:
            known = {name: getattr(self, name).copy() for name in self.KNOWN} | {"reads_aside": self.reads_aside}
            _source[key] = Made(found.uncompiled, found.read, found.repetitions, self._tables, known)
        return found


def _ships(table: str) -> bool:
    """Whether it is a name, or a path in a folder that ships, as a pack's codes are: no file of a test."""
    return not Path(table).is_absolute() and ".." not in Path(table).parts


def _compiled(source: str, file: str) -> tuple[CodeType, ...]:
    key = blake2b(f"{file}\0{source}".encode()).digest()
    if key not in _code:
        _code[key] = _python(source, file)
    return _code[key]


@contextmanager
def shipped_mappings_once() -> Iterator[None]:
    with (
        mock.patch.object(loading, "_load", _load),
        mock.patch.object(loading, "_Compiler", OnceCompiler),
        mock.patch.object(generated, "compiled", _compiled),
    ):
        yield
