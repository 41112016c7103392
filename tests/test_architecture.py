"""Who may import whom, and what a pure module may not touch. Read from the text of the modules, not by running them.

The rooms and their order are those of docs/architecture.md. A new module of `engine` must be put into one of them here.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONTRACT = {"engine.link_events", "engine.message", "engine.errors", "engine.reasons", "engine.values"}
CONTRACT_WITH_IO = CONTRACT | {"engine.ports", "engine.clock"}

# The layers of `engine`, from the inside out: a module imports from its own layer and those before it.
# A name stands for a module or for a whole package.
LAYERS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "values",
        names(
            "actor allocator breaker chain clock clock_watch conditional controls cultures deidentified "
            "deidentified_codes list_form downtime edit_text errors examine examine_lines facts growth hashes health "
            "key_sheet kinds lane letters "
            "link_events link_words message near numbers ownership pace packing persons ports reagents reasons "
            "receive_memory records registry repeats results retry secrets site site_file snapshot succession "
            "technology tested timing told told_document told_hl7 told_lists units values versions words "
            "yaml_nodes critical"
        ),
    ),
    (
        "stores, mapping, configuration",
        names(
            "absent accepted along anchor answers apart arrival audit backups batch bearers before_upgrade causes "
            "compact config correcting damage detecting durable earlier elsewhere emptying erased erasing formats "
            "holding installed joining journal kek layouts letting_go line_trace listing lock loss lots mapping meant "
            "memory moments migrate new_folder numbered outbox packs pauses pruned reading replays reserve retention "
            "rollback rotation row_check rows salvage server_versions settling superseding suspect sweeping "
            "trail trail_check unfinished unmapped_codes upkeep moving "
            "used_numbers vault verdict verify wal_repair warm_up wholes writer"
        ),
    ),
    (
        "the way of a message",
        names("channel channel_parts delivery heap intake judging outcomes overlong preparing tee unkept"),
    ),
    (
        "the running site",
        names(
            "acts affected app backup_keeper build control daily_look gentle link_view logs metrics not_taken "
            "observe process_metrics replaying reprocessing sandbox second_anchor sources supervisor switches taps "
            "watchdog web who_is_who worker"
        ),
    ),
    ("commands", names("__main__ bench commands demo simulator workbench")),
)
# Neither of these may know the other: a store keeps what it is given, a mapping makes it.
APART = (("mapping", names("journal outbox vault writer reading batch arrival verdict memory anchor audit config")),)

IMPURE_MODULES = names(
    "asyncio concurrent ctypes fcntl glob http io logging multiprocessing os pathlib pickle random requests secrets "
    "select selectors shutil signal socket socketserver sqlite3 ssl subprocess tempfile threading time urllib"
)
IMPURE_CALLS = names("open print input eval exec breakpoint __import__")
CLOCK_CALLS = frozenset({("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")})

DATA_FOLDERS = (
    "analyzers",
    "channels",
    "config",
    "docs",
    "layouts",
    "mappings",
    "requirements",
    "samples",
    "systemd",
    "engine/schema",
)


def modules(folder: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((CHECKOUT / folder).rglob("*.py")):
        parts = list(path.relative_to(CHECKOUT).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that is imported anywhere in the file, also within functions and for types only."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from engine import registry` imports engine.registry
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if _is_module(name)} or {node.module or ""}
    return frozenset(found)


def _is_module(name: str) -> bool:
    path = CHECKOUT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def ours(names: frozenset[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in ("engine", "adapters", "tests", "tools")}


def layer(module: str) -> int:
    name = module.split(".")[1] if "." in module else ""
    for number, (_, names) in enumerate(LAYERS):
        if name in names:
            return number
    pytest.fail(f"{module} is in no layer; put it into one of LAYERS in {Path(__file__).name}")


ADAPTERS = dict(modules("adapters"))
ENGINE = {name: path for name, path in modules("engine") if name != "engine"}
PURE = {name: path for name, path in ADAPTERS.items() if name.startswith(("adapters.codecs", "adapters.dialects"))}
WITH_IO = {name: path for name, path in ADAPTERS.items() if name not in PURE and name != "adapters"}


@pytest.mark.parametrize("name", PURE)
def test_codecs_and_dialects_know_only_the_standard_library_and_the_contract(name: str) -> None:
    imported = imports(PURE[name])
    room = ("adapters.codecs.", "adapters.dialects.") if ".dialects" in name else ("adapters.codecs.",)

    assert {other for other in ours(imported) if other not in CONTRACT and not other.startswith(room)} == set()
    outside = {other.split(".")[0] for other in imported - ours(imported)}
    assert outside <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", PURE)
def test_codecs_and_dialects_are_pure(name: str) -> None:
    """No clock, socket, file, logger, random number: what they need comes in, what they want done goes out."""
    touched = {other.split(".")[0] for other in imports(PURE[name])} & IMPURE_MODULES
    assert touched == set()
    for node in ast.walk(tree(PURE[name])):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, f"{name}:{node.lineno}: {node.func.id}()"
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            call = (node.func.value.id, node.func.attr)
            assert call not in CLOCK_CALLS, f"{name}:{node.lineno}: {'.'.join(call)}()"


@pytest.mark.parametrize("name", PURE)
def test_codecs_define_no_coroutine(name: str) -> None:
    assert not any(isinstance(node, (ast.AsyncFunctionDef, ast.Await)) for node in ast.walk(tree(PURE[name])))


@pytest.mark.parametrize("name", WITH_IO)
def test_transports_and_destinations_know_codecs_and_the_contract(name: str) -> None:
    room = ".".join(name.split(".")[:2])
    known = {
        other
        for other in ours(imports(WITH_IO[name]))
        if other not in CONTRACT_WITH_IO and not other.startswith(("adapters.codecs.", f"{room}."))
    }

    assert known == set()


@pytest.mark.parametrize("name", ENGINE)
def test_the_engine_reaches_adapters_only_through_the_registry(name: str) -> None:
    assert {other for other in imports(ENGINE[name]) if other.split(".")[0] == "adapters"} == set()


@pytest.mark.parametrize("name", ENGINE)
def test_layers_look_inwards_only(name: str) -> None:
    mine = layer(name)
    for other in imports(ENGINE[name]):
        if other.startswith("engine.") and layer(other) > mine and not _for_types_only(ENGINE[name], other):
            pytest.fail(f"{name} ({LAYERS[mine][0]}) imports {other} ({LAYERS[layer(other)][0]})")


@pytest.mark.parametrize(("package", "others"), APART, ids=["mapping and stores"])
def test_some_rooms_do_not_know_each_other(package: str, others: frozenset[str]) -> None:
    for name, path in ENGINE.items():
        first = name.split(".")[1]
        known = {other.split(".")[1] for other in imports(path) if other.startswith("engine.")}
        if first == package:
            assert known & others == set(), name
        elif first in others:
            assert package not in known, name


def test_only_commands_and_tests_run_commands() -> None:
    for name, path in ENGINE.items():
        if not name.startswith(("engine.commands", "engine.__main__")):
            assert not any(other.startswith("engine.commands") for other in imports(path)), name


def test_the_product_does_not_import_its_tests_or_tools() -> None:
    for name, path in {**ENGINE, **ADAPTERS}.items():
        assert {other for other in imports(path) if other.split(".")[0] in ("tests", "tools", "pytest")} == set(), name


def test_the_registry_names_modules_that_exist() -> None:
    for node in ast.walk(tree(CHECKOUT / "engine" / "registry.py")):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("adapters."):
            assert node.value in ADAPTERS


def test_data_folders_hold_data() -> None:
    for folder in DATA_FOLDERS:
        assert list((CHECKOUT / folder).rglob("*.py")) == [], folder


def test_every_module_says_what_it_is() -> None:
    silent = [
        name
        for name, path in {**ENGINE, **ADAPTERS}.items()
        if path.name != "__init__.py" and not ast.get_docstring(tree(path))
    ]
    assert silent == []


def test_no_module_is_named_for_nothing() -> None:
    """A name that says nothing collects everything."""
    assert [
        name for name in {**ENGINE, **ADAPTERS} if name.rsplit(".", 1)[-1] in ("utils", "helpers", "common", "misc")
    ] == []


def _for_types_only(path: Path, module: str) -> bool:
    """Whether ``module`` is imported under ``if TYPE_CHECKING:`` only: a name in a signature is no dependency."""
    whole = tree(path)
    guarded = {
        inner
        for node in ast.walk(whole)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in node.body
    }
    return all(
        node in guarded
        for node in ast.walk(whole)
        if isinstance(node, ast.ImportFrom)
        and (
            node.module == module or (node.module == "engine" and module.split(".")[1] in {a.name for a in node.names})
        )
    )


def test_the_readers_of_the_standards_are_loaded_where_a_site_asks_for_them_alone() -> None:
    """They are large and slow to load: no daemon and no other command pays for them."""
    loads = re.compile(r"^\s*(?:import|from)\s+(?:hl7apy|fhir)\b|import_module\(\"(?:hl7apy|fhir)\b", re.MULTILINE)
    users = {name for name, path in {**ENGINE, **ADAPTERS}.items() if loads.search(path.read_text(encoding="utf-8"))}
    assert users == {"engine.commands.fhir_models", "engine.commands.hl7_structures"}
