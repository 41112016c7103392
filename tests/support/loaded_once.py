"""The shipped mappings are compiled once in each process of tests: tests load them by the thousand.

Their files do not change while tests run, and a program is the same for each who has it. A mapping or table of a site's
own is read each time, as is one of a test that has the marker `compiles`. Its code is compiled once for one source:
tables and other constants are not in that (`engine.mapping.generated.Uncompiled`).
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import CodeType
from unittest import mock

from engine.mapping import generated, loading
from engine.mapping.compiler import compilation
from engine.mapping.program import Program
from tests.support.shipped import ANALYZERS, MAPPINGS

SHIPPED = frozenset({MAPPINGS, ANALYZERS})
_compile = loading._load
_python = compilation.compiled
_kept: dict[Hashable, Program] = {}
_code: dict[bytes, CodeType] = {}  # hash of a source -> its code


def _load(name_or_path: str | Path, search: Sequence[Path], tables: loading.Chosen) -> Program:
    folders = tuple(one for one in map(Path.resolve, map(Path, search)) if one in SHIPPED or one.is_dir())
    own = Path(name_or_path).suffix or not SHIPPED.issuperset(folders)
    if own or not all(isinstance(one, str) and not Path(one).suffix for one in tables.values()):
        return _compile(name_or_path, search, tables)
    key = (name_or_path, folders, tuple(sorted(tables.items())))
    if key not in _kept:
        _kept[key] = _compile(name_or_path, search, tables)
    return _kept[key]


def _compiled(source: str, file: str) -> CodeType:
    key = blake2b(f"{file}\0{source}".encode()).digest()
    if key not in _code:
        _code[key] = _python(source, file)
    return _code[key]


@contextmanager
def shipped_mappings_once() -> Iterator[None]:
    with mock.patch.object(loading, "_load", _load), mock.patch.object(generated, "compiled", _compiled):
        yield
