"""The shipped mappings are compiled once in each process of tests: tests load them by the thousand.

Their files do not change while tests run, and a program is the same for each who has it. A mapping or table of a site's
own is compiled each time, as is one of a test that has the marker `compiles`.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from engine.mapping import loading
from engine.mapping.program import Program
from tests.support.shipped import ANALYZERS, MAPPINGS

SHIPPED = frozenset({MAPPINGS, ANALYZERS})
_compile = loading._load
_kept: dict[Hashable, Program] = {}


def _load(name_or_path: str | Path, search: Sequence[Path], tables: loading.Chosen) -> Program:
    folders = tuple(one for one in map(Path.resolve, map(Path, search)) if one in SHIPPED or one.is_dir())
    own = Path(name_or_path).suffix or not SHIPPED.issuperset(folders)
    if own or not all(isinstance(one, str) and not Path(one).suffix for one in tables.values()):
        return _compile(name_or_path, search, tables)
    key = (name_or_path, folders, tuple(sorted(tables.items())))
    if key not in _kept:
        _kept[key] = _compile(name_or_path, search, tables)
    return _kept[key]


@contextmanager
def shipped_mappings_once() -> Iterator[None]:
    with mock.patch.object(loading, "_load", _load):
        yield
