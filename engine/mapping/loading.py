"""From a name to a `Program`: find the files, read and check them, generate and compile the code.

A mapping, library or table is looked for in each folder of the search path in order (the site's own first), so that a
site's file shadows the shipped one of the same name. A table is named relative to a `mappings` folder.
"""

import gc
import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from collections.abc import Mapping as MappingOf
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from engine.config.reading import yaml_nodes
from engine.config.reading.yaml_nodes import Node
from engine.mapping.code_tables.optional_keys import without_missing
from engine.mapping.code_tables.plausible import Kinds, read_kinds
from engine.mapping.code_tables.table_files import Doubt, Finding, first_file, read_tables
from engine.mapping.code_tables.tables import Table
from engine.mapping.compiler.assembly import compilation
from engine.mapping.compiler.context import Compilation, Setting
from engine.mapping.compiler.source.code import Code
from engine.mapping.compiler.steps import compile_mapping
from engine.mapping.functions import FUNCTIONS
from engine.mapping.generated import NAME, Generated, Uncompiled
from engine.mapping.language.rule_files import read_library, read_mapping
from engine.mapping.language.rules import Fragment, LibraryFile, MappingFile, Problems, TableUse
from engine.mapping.language.structures import HL7, known_segments, structures
from engine.mapping.message.code_places import ROWS_SETTING
from engine.mapping.message.read_cache import UNSET
from engine.mapping.message.runtime import PROLOGUE
from engine.mapping.outputs.documents import SETTINGS
from engine.mapping.program import Program
from engine.mapping.shipped import READERS
from engine.model.errors import ConfigError, TooLargeError
from engine.model.site.corrections import Sheet
from engine.model.texts.spelling import suggestion

_BUILT_IN = ("labrelay/hl7v2", "labrelay/astm")  # the functions; every mapping has them, naming them is allowed
MAX_TABLE_BYTES = 32 * 1024 * 1024


Value = TypeVar("Value")


class _Once(Generic[Value]):
    """Cache of parsed files by content: several mappings of a site import the same libraries and tables.

    The key holds the content itself, or its hash, so a cached value is never older than its file.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Hashable, Value] = {}

    def get(self, key: Hashable, read: Callable[[], Value]) -> Value:
        """Raises what ``read`` raises, each time."""
        if key not in self._known:
            made = read()
            if len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[key] = made
        return self._known[key]


_NODES: _Once[Node] = _Once(32)
_LIBRARIES: _Once[tuple[LibraryFile, Problems]] = _Once(16)
_TABLES: _Once[tuple[Table, list[tuple[str, Finding]]]] = _Once(16)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@dataclass(slots=True)
class _Sources:
    """All parts of a mapping, and its problems."""

    search: tuple[Path, ...]
    problems: Problems = field(default_factory=Problems)
    hashes: dict[str, bytes] = field(default_factory=dict)

    def read(self, path: Path, name: str) -> str:
        data = path.read_bytes()
        self.hashes[name] = data
        return data.decode("utf-8-sig")

    def find(self, name: str) -> Path | None:
        """The first file of that name on the search path; a name never leaves its folder."""
        if Path(name).is_absolute() or ".." in Path(name).parts:
            return None
        return first_file(name, self.search)

    def content_hash(self) -> str:
        """Over all files by name, so that a moved checkout changes nothing."""
        state = hashlib.sha256()
        for name in sorted(self.hashes):
            data = self.hashes[name]
            state.update(f"{name}\0{len(data)}\0".encode())
            state.update(data)
        return state.hexdigest()


Chosen = MappingOf[str, str | Sequence[str | Sheet]]
"""Name of a table -> its CSV files in place of the one that the mapping names, and rows that are in no file. The first
has precedence; beside rows alone the mapping's own files stay."""


def load(name_or_path: str | Path, search: Sequence[Path], *, tables: Chosen | None = None) -> Program:
    """Read, check and compile a mapping.

    Args:
        name_or_path: a mapping's name, or the path of its file.
        search: `mappings` folders, the site's before the shipped ones.
        tables: a channel's own code tables; a file is named ``tables/sysmex-xn.csv``, or only ``sysmex-xn``.

    Raises:
        ConfigError: the problems, each with file, line, column and what to do.
    """
    with _without_collections():
        return _load(name_or_path, search, tables or {})


@contextmanager
def _without_collections() -> Iterator[None]:
    """Nearly all that is read and generated stays: to walk it again and again would take a third of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def load_tables(name_or_path: str | Path, search: Sequence[Path], *, tables: Chosen | None = None) -> dict[str, Table]:
    """The code tables of a mapping as `load` reads them, without the rest of it.

    Raises:
        ConfigError: as `load`, about the tables.
    """
    path, folders = _locate(name_or_path, search)
    sources = _Sources(folders)
    made = _tables(read_mapping(_read_node(path, sources, path.name), Problems()), sources, tables or {})
    if sources.problems.errors:
        raise ConfigError(*sources.problems.errors)
    return made


def _load(name_or_path: str | Path, search: Sequence[Path], tables: Chosen) -> Program:
    path, folders = _locate(name_or_path, search)
    sources = _Sources(folders)
    problems = sources.problems
    mapping = read_mapping(_read_node(path, sources, path.name), problems)
    libraries = _libraries(mapping, sources)
    made = _tables(mapping, sources, tables)
    mapping, libraries = without_missing(mapping, made), without_missing(libraries, made)
    _check_structures(mapping, problems)
    if problems.errors:
        raise ConfigError(*problems.errors)
    compiler = _Compiler(mapping, libraries, made, problems)
    plain = {structure: compiler.compile(structure, traced=False) for structure in mapping.structures}
    compiler.check_unused()
    if problems.errors:
        raise ConfigError(*problems.errors)
    return Program(
        name=mapping.name,
        format=mapping.format,
        structures=mapping.structures,
        content_hash=sources.content_hash(),
        files={name: hashlib.sha256(data).hexdigest() for name, data in sorted(sources.hashes.items())},
        target=mapping.target,
        columns=tuple(compiler.columns),
        bundle=mapping.bundle,
        profiles=mapping.profiles,
        policies=mapping.policies,
        identity=mapping.identity,
        tables=made,
        problems=tuple(problems.warnings),
        settings_read=frozenset(compiler.settings_read),
        report_numbers=frozenset(compiler.report_numbers),
        reads_aside=compiler.reads_aside,
        is_own=_is_own(sources),
        plain=plain,
        compile_traced=lambda structure: compiler.compile(structure, traced=True),
    )


def _is_own(sources: _Sources) -> bool:
    """Whether one of the files of rules is not as it ships: beside the readers, in the last such folder."""
    readers = [f"{name}.yaml" for name in READERS.values()]
    folders = (one for one in reversed(sources.search) if all((one / name).is_file() for name in readers))
    ours = next(folders, None)
    rules = [(name, data) for name, data in sources.hashes.items() if name.endswith((".yaml", ".yml"))]
    return ours is None or any(
        not (ours / name).is_file() or (ours / name).read_bytes() != data for name, data in rules
    )


def _locate(name_or_path: str | Path, search: Sequence[Path]) -> tuple[Path, tuple[Path, ...]]:
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
        if path.is_file():
            return path, (path.resolve().parent, *search)
        if (found := first_file(path, search)) is None:
            raise ConfigError(f"{path}:1:1: there is no such file; check the path")
        return found, tuple(search)
    if not text or "/" in text or "\\" in text or text.startswith("."):
        raise ConfigError(f"{text}:1:1: this is no name of a mapping; give a name or the path of its .yaml file")
    if (found := first_file(f"{text}.yaml", search)) is not None:
        return found, tuple(search)
    known = sorted(
        {path.stem for folder in search if folder.is_dir() for path in folder.glob("*.yaml") if _is_mapping(path)}
    )
    near = suggestion(text, known) or f"; known are {', '.join(known)}"
    raise ConfigError(f"{text}.yaml:1:1: there is no mapping {text}{near}")


def _is_mapping(path: Path) -> bool:
    """Whether a file is a mapping and no library; a file that cannot be read may be the intended one."""
    try:
        return yaml_nodes.read_file(path, path.name).get("mapping-library") is None
    except ConfigError:
        return True


def _read_node(path: Path, sources: _Sources, name: str) -> Node:
    try:
        data = path.read_bytes()
    except OSError:
        data = b""  # the reader says why
    node = _NODES.get((name, data), lambda: yaml_nodes.read_file(path, name))
    sources.hashes[name] = data
    return node


def _libraries(mapping: MappingFile, sources: _Sources) -> list[LibraryFile]:
    found: list[LibraryFile] = []
    for imported in mapping.imports:
        name = imported.value
        if name in _BUILT_IN:
            if not name.endswith(mapping.format):
                sources.problems.warning(
                    imported, f"{name} is of no use for a mapping from {mapping.format}; remove it"
                )
            continue
        path = sources.find(f"{name}.yaml")
        if path is None:
            known = {path.stem for folder in sources.search if folder.is_dir() for path in folder.glob("*.yaml")}
            sources.problems.error(imported, f"there is no library {name}{suggestion(name, known)}")
            continue
        node = _read_node(path, sources, path.name)
        if node.get("mapping-library") is None:
            sources.problems.error(imported, f"{path.name} is no library: mapping-library: is missing in it")
            continue
        found.append(_library(node, sources))
    return found


def _library(node: Node, sources: _Sources) -> LibraryFile:
    """A library, read once for all mappings that import it; its problems are reported for each of them."""

    def read() -> tuple[LibraryFile, Problems]:
        problems = Problems()
        return read_library(node, problems), problems

    library, problems = _LIBRARIES.get((node.file, sources.hashes[node.file]), read)
    sources.problems.errors += problems.errors
    sources.problems.warnings += problems.warnings
    return library


def _tables(mapping: MappingFile, sources: _Sources, chosen: Chosen) -> dict[str, Table]:
    made: dict[str, Table] = {}
    for name, given in chosen.items():
        if name not in mapping.tables and any(isinstance(one, str) for one in given):
            raise ConfigError(
                f"{mapping.node.file}:1:1: mapping {mapping.name} has no table {name}{suggestion(name, mapping.tables)}"
            )
    kinds = kinds_of(sources.search)
    for name, use in mapping.tables.items():
        table = _table(use, sources, chosen.get(name, ""), kinds.doubt if kinds is not None else None)
        if table is not None:
            made[name] = table
    return made


def kinds_of(search: Sequence[Path]) -> Kinds | None:
    """The tables of terms and of units on the search path; None where one of them is missing."""
    texts = []
    for name in ("tables/loinc.csv", "tables/ucum.csv"):
        path = first_file(name, search)
        if path is None:
            return None
        texts.append(path.read_bytes().decode("utf-8-sig", "replace"))
    return read_kinds(*texts)


def _table(use: TableUse, sources: _Sources, chosen: str | Sequence[str | Sheet], doubt: Doubt | None) -> Table | None:
    given = [chosen] if isinstance(chosen, str) else chosen
    names = [(name, use.csv[0]) for name in given if isinstance(name, str) and name]
    texts: list[tuple[str, str]] = [(sheet.name, sheet.text) for sheet in given if isinstance(sheet, Sheet)]
    sources.hashes |= {name: text.encode() for name, text in texts}
    for name, at in names or [(node.value, node) for node in use.csv]:
        file = name if name.endswith(".csv") else f"tables/{name}.csv"
        text = _text_of(file, at, sources)
        if text is None:
            return None
        texts.append((file, text))
    table, findings = _TABLES.get(
        (use.name, tuple(use.key), tuple(use.optional), doubt, *((file, _digest(text)) for file, text in texts)),
        lambda: read_tables(texts, use.name, use.key, doubt, optional=use.optional),
    )
    table = replace(table)  # its rows are everyone's, its policies are this mapping's
    table.on_missing = use.on_missing
    table.on_missing_unit = use.on_missing_unit
    for file, finding in findings:
        if finding.severity == "doubt":
            table.doubts += (finding.at(file),)
            continue
        target = sources.problems.errors if finding.severity == "error" else sources.problems.warnings
        target.append(finding.at(file))
    return table


def _text_of(file: str, at: Node, sources: _Sources) -> str | None:
    """The text of a table's file; a problem at ``at`` where there is none."""
    problems = sources.problems
    path = sources.find(file)
    if path is None:
        problems.error(at, f"there is no file {file} in the mappings folders; check the name")
        return None
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            problems.error(at, f"{file} is larger than {MAX_TABLE_BYTES} bytes; split it")
            return None
        return sources.read(path, file)
    except OSError as error:
        problems.error(at, f"{file} cannot be read ({error.strerror}); check its rights")
    except UnicodeDecodeError as error:
        problems.error(at, f"{file} is not UTF-8 (byte {error.start}); save it as UTF-8")
    return None


def _check_structures(mapping: MappingFile, problems: Problems) -> None:
    if not mapping.format:
        return
    known = structures(mapping.format)
    for structure in mapping.structures:
        if structure not in known:
            assert mapping.structure_node is not None
            problems.error(mapping.structure_node, f"no structure is called {structure}{suggestion(structure, known)}")


class _Compiler:
    """Generates the functions of one mapping; keeps what all its structures have in common."""

    def __init__(
        self, mapping: MappingFile, libraries: list[LibraryFile], tables: dict[str, Table], problems: Problems
    ) -> None:
        self._mapping = mapping
        self._libraries = libraries
        self._tables = tables
        self._problems = problems
        self._fragments: dict[str, Fragment] = {}
        for library in libraries:
            for name, fragment in library.fragments.items():
                if name in self._fragments:
                    problems.error(fragment.node, f"another library has a fragment {name} too; give one another name")
                self._fragments[name] = fragment
        self._used_fragments: set[str] = set()
        self._used_tables: set[str] = set()
        self.settings_read: set[str] = set()
        self.report_numbers: set[tuple[str, int, int]] = set()
        self.reads_aside = False
        self.columns: dict[str, None] = {}  # of CSV rows, in order

    def compile(self, structure: str, *, traced: bool) -> Generated:
        setting = Setting(
            message_format=self._mapping.format,
            root=structures(self._mapping.format)[structure],
            known_segments=known_segments(self._mapping.format),
            identity=self._mapping.identity,
            tables=self._tables,
            others=tuple(
                structures(self._mapping.format)[other] for other in self._mapping.structures if other != structure
            ),
        )
        problems = Problems() if traced else self._problems
        target = self._mapping.target
        c = compilation(
            setting, problems, traced=traced, fragments=self._fragments, target=target, columns=self.columns
        )
        if self._mapping.format == HL7:
            self.settings_read.add(ROWS_SETTING)
        if target.kind != "fhir":
            self.settings_read |= SETTINGS[target.kind]
        try:
            compile_mapping(c, self._mapping.lets, self._mapping.steps)
        except TooLargeError:
            problems.error(self._mapping.node, "the mapping becomes too large; use fewer fragments inside fragments")
            return _NOT_MADE
        except RecursionError:  # fragments inside fragments: one file is never that deep
            problems.error(self._mapping.node, _TOO_DEEP)
            return _NOT_MADE
        if not traced:
            self._check_results(c)
        self._used_fragments |= c.used_fragments
        self._used_tables |= setting.tables_used
        self.settings_read |= setting.settings_read
        self.report_numbers |= setting.report_numbers
        self.reads_aside = self.reads_aside or bool(setting.values_aside)
        for name in setting.functions_used:
            self.settings_read.update(FUNCTIONS[name].settings)
        arguments = "m, making, T" if traced else "m, making"
        try:
            return build(c.code, frozenset(setting.segments_read), arguments, repetitions=setting.repetitions_read)
        except (SyntaxError, RecursionError, MemoryError):
            # Python's own limits: 100 levels of indentation, 20 of loops.
            problems.error(self._mapping.node, _TOO_DEEP)
            return _NOT_MADE

    def _check_results(self, c: Compilation) -> None:
        """Check that the names under ``results:`` exist; without ``results:`` the results are not compared."""
        target, mapping = self._mapping.target, self._mapping.node
        if target.kind == "hl7v2" or not c.lists_results:
            return
        if target.results is None:
            text = (
                "the results of this list are not compared with those that were sent before: a preliminary one goes out"
                " behind a final one; name its columns by results:, or write results: none"
            )
            self._problems.warning(mapping.get("to") or mapping, text)
            return
        known = self.columns if target.kind == "csv" else c.members
        what = "row has such a column" if target.kind == "csv" else "record has such a member (list.member)"
        for name in (name for names in target.results.values() for name in names):
            if name not in known:
                self._problems.error(mapping.get("results") or mapping, f"results: names '{name}', and no {what}")

    def check_unused(self) -> None:
        for name, table in self._mapping.tables.items():
            if name not in self._used_tables:
                self._problems.warning(table.node, f"table {name} is never looked up; remove it")
        for imported, library in zip(self._imported(), self._libraries, strict=False):
            if library.fragments and not self._used_fragments & library.fragments.keys():
                self._problems.warning(imported, f"nothing of {imported.value} is used; remove the import")

    def _imported(self) -> list[Node]:
        return [node for node in self._mapping.imports if node.value not in _BUILT_IN]


_TOO_DEEP = "conditions, cases or loops are nested too deeply; make them flatter"
_NOT_MADE = Generated(Uncompiled(Code().source(NAME, "", ""), {}), frozenset())
"""Placeholder for code that could not be generated; the reported problem keeps the mapping from being used."""


def build(
    code: Code,
    read: frozenset[str],
    arguments: str,
    prologue: str = PROLOGUE,
    repetitions: dict[tuple[str, int], int] | None = None,
) -> Generated:
    """The function of generated code. Only numbers and our own words are in its source.

    Raises:
        SyntaxError, RecursionError, MemoryError: it is nested too deeply.
    """

    uncompiled = Uncompiled(code.source(NAME, arguments, prologue), {"UNSET": UNSET, **code.bound})
    generated = Generated(uncompiled, read, repetitions)
    if not code.usual:
        generated.made  # noqa: B018  (whether Python takes it is only known then)
    return generated
