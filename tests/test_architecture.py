"""Who may import whom, and what a pure module may not touch. Read from the text of the modules, not by running them.

A feature is a folder of `engine/features`; the other folders of `engine` are the core and its layers, which names no
feature. What one feature knows of another stands in `core_and_features.tsv`. docs/architecture.md says what each folder
is for.
"""

import ast
import builtins
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONTRACT = names(
    """
    engine.model.site.alerts engine.model.errors engine.model.link_events engine.model.message engine.model.orders
    engine.model.texts.reasons engine.model.spans engine.model.tables engine.model.texts.templates engine.model.values
    """
)
CONTRACT_WITH_IO = CONTRACT | {"engine.model.ports", "engine.model.process.clock", "engine.model.process.back_off"}

# The folders of `engine`, from the inside out: a module imports from its own folder and from those before it.
ORDER = (
    *("engine.feature", "engine.model", "engine.succession", "engine.config", "engine.mapping"),
    # the store's own order
    *("engine.store.core", "engine.store.operations", "engine.store.lifecycle", "engine.store.queries"),
    *("engine.store.integrity", "engine.store.journal", "engine.store.recovery"),
    *("engine.delivery", "engine.receiving", "engine.diagnostics", "engine.processing", "engine.monitoring"),
    *("engine.actions", "engine.views", "engine.web", "engine.runtime"),
    *("engine.commands", "engine.__main__", "engine.commands.topics", "engine.features", "workbench"),
)
# The names of a feature's folder, from the inside out; each is a module or a folder, and imports those before it.
IN_A_FEATURE = ("config", "rules", "wire", "client", "rows", "lists", "snapshot", "on_outcome", "service", "functions")
IN_A_FEATURE += ("acts", "todo", "metrics", "examine", "pages", "commands")
AS_SERVICE = ("flows", "exchange")  # what runs, too
# Words that only a feature has. Other features are named for things that the core knows, too: orders, results, codes;
# and `engine.model` has the values that adapters need.
OF_A_FEATURE = frozenset({"abdm", "alert", "rework", "webhook"})
# Neither of these may know the other: a store keeps what it is given, a mapping makes it.
APART = (("engine.mapping", "engine.store"),)
# How a statement of SQL begins, as the engine writes them.
SQL = re.compile(
    r"\s*((SELECT|INSERT|REPLACE|UPDATE|DELETE|WITH|CREATE|DROP|ALTER|PRAGMA|ATTACH|DETACH|SAVEPOINT|RELEASE)\s"
    r"|(BEGIN|COMMIT|ROLLBACK|VACUUM)(\s|$))"
)
# Where a feature has its tables.
ROWS = re.compile(r"engine\.features\.\w+\.rows\b")
# The sandbox is a server of its own, with a database of its own.
OTHERS_WITH_SQL = "workbench.sandbox"
# A mapping knows no configuration of a site, but the reader of YAML and the table of adapters.
OF_CONFIG_IN_MAPPING = {"engine.config.reading.yaml_nodes", "engine.config.registry"}

# A kind of error is a kind of another one, and has no work to share out; settings are put together of parts.
ERROR = ("engine.model.errors", "LabRelayError")
SETTINGS = ("engine.config.reading.values", "Model")

# Where errors are declared: one hierarchy; the tools for developers, and what passes between transports alone.
ERRORS = {"engine.model.errors", "workbench.errors", "adapters.transports.errors"}

# Modules that import what they should not, each pair a line of the file: kind, module, what it imports. They may only
# become fewer: a pair that is gone is taken out of the file.
#   arrow    a module of one feature that imports another
#   inside   a module of a feature that imports what comes after it in `IN_A_FEATURE`
PAIRS = CHECKOUT / "tests" / "core_and_features.tsv"
AT_MOST = {"arrow": 6, "inside": 1}

BUILT_IN_ERRORS = {
    name for name, one in vars(builtins).items() if isinstance(one, type) and issubclass(one, BaseException)
}

# What is imported of ours within a function, and why; a command imports there what only some of its runs need.
IMPORTED_LATE = {
    ("engine.__main__", "engine.model.texts.spelling"): "only a wrong verb needs a suggestion",
    ("engine.web.api.service", "engine.web.api.reads"): "models that a site without requests to the API does not need",
    (
        "engine.features.access.service.accounts",
        "engine.features.access.client.flow",
    ): "few sites have a provider",
    (
        "engine.features.abdm.service.listener",
        "engine.features.abdm.rules.gateway_tokens",
    ): "joserfc is slow to read, and few sites have ABDM",
    ("adapters.clients.http.oauth2", "adapters.clients.http.jwt"): "joserfc is slow to read, and rarely used",
    ("workbench.bench.under_test", "engine.processing.process"): "of another version, too: only one probe needs it",
}

IMPURE_MODULES = names(
    "asyncio concurrent ctypes fcntl glob http io logging multiprocessing os pathlib pickle random requests secrets "
    "select selectors shutil signal socket socketserver sqlite3 ssl subprocess tempfile threading time urllib"
)
IN_MEMORY = {"io"}  # lines of CSV are read from a text
# What a pure module may import besides the standard library, and why it stays pure with it.
OUTSIDE = {
    (
        "engine.features.abdm.wire.fidelius",
        "cryptography.hazmat.primitives",
    ): "X25519, HKDF and AES-GCM in constant time: "
    "arithmetic on bytes that it is given; the caller draws keys and nonces",
    (
        "engine.features.abdm.wire.fidelius",
        "cryptography.exceptions",
    ): "the error of a tag of AES-GCM that does not fit",
    ("adapters.codecs.json_tree", "orjson"): "a tree in, bytes out, in a sixtieth of the time that Python takes",
}
# How long a function of the product may be, from ``def`` to its end, and a module: lines.
LONGEST_FUNCTION = 70
LONGEST_MODULE = 500
# How many modules a folder may have, without its ``__init__.py``.
LARGEST_FOLDER = 25
# How a library draws a key by itself.
DRAWING_CALLS = names("generate generate_key generate_private_key generate_parameters")
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
    "engine/mapping/data",
    "engine/store/schema",
)


TO_BE_COPIED = {"samples/api_client.py"}  # into programs of other people; nothing here imports it


def modules(folder: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((CHECKOUT / folder).rglob("*.py")):
        parts = list(path.relative_to(CHECKOUT).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(path)))


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that is imported anywhere in the file, also within functions and for types only."""
    return _imported_by(nodes(path))


@cache
def imported_to_run(path: Path) -> frozenset[str]:
    """The same without those that are under ``if TYPE_CHECKING:`` alone: a name in a signature is no dependency."""
    guarded = {
        inner
        for node in nodes(path)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in node.body
    }
    return _imported_by(node for node in nodes(path) if node not in guarded)


def _imported_by(nodes: Iterable[ast.AST]) -> frozenset[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            # `from engine import registry` imports engine.config.registry
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if _is_module(name)} or {node.module or ""}
    return frozenset(found)


def _is_module(name: str) -> bool:
    path = CHECKOUT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def ours(names: frozenset[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in ("engine", "adapters", "workbench", "tests", "tools")}


def room(module: str) -> int:
    """Its place in `ORDER`: of the innermost folder there."""
    found = [folder for folder in ORDER if f"{module}.".startswith(f"{folder}.")]
    if found:
        return ORDER.index(max(found, key=len))
    pytest.fail(f"{module} is in no folder of ORDER in {Path(__file__).name}")


def feature(module: str) -> str:
    """The feature that has a module; empty of the core's."""
    return module.split(".")[2] if re.match(r"engine\.features\.\w", module) else ""


def part(module: str) -> str:
    """The name of a module, or of its folder, in the feature's folder; empty of the feature itself."""
    return module.split(".")[3] if feature(module) and module.count(".") > 2 else ""


def is_command(name: str) -> bool:
    return "commands" in name.split(".")


def of_features(*names: str) -> dict[str, Path]:
    return {name: path for name, path in ENGINE.items() if part(name) in names}


ADAPTERS = dict(modules("adapters"))
ENGINE = {name: path for name, path in modules("engine") if name != "engine"} | dict(modules("workbench"))
PURE = {name: path for name, path in ADAPTERS.items() if name.startswith(("adapters.codecs", "adapters.dialects"))}
WITH_IO = {name: path for name, path in ADAPTERS.items() if name not in PURE and name != "adapters"}
# A feature with a network of its own has codecs and a client of its own, under the same rules.
PURE |= of_features("wire")
NETWORKS = {feature(name) for name in of_features("wire")}
WITH_IO |= {name: path for name, path in of_features("client").items() if feature(name) in NETWORKS}


@pytest.mark.parametrize("name", PURE)
def test_codecs_and_dialects_know_only_the_standard_library_and_the_contract(name: str) -> None:
    imported = imports(PURE[name])
    room = ("adapters.codecs.", "adapters.dialects.") if ".dialects" in name else ("adapters.codecs.",)
    if feature(name):
        room += (f"engine.features.{feature(name)}.rules.", f"engine.features.{feature(name)}.wire.")

    assert {other for other in ours(imported) if other not in CONTRACT and not other.startswith(room)} == set()
    outside = {other for other in imported - ours(imported) if other.split(".")[0] not in sys.stdlib_module_names}
    allowed = {library for module, library in OUTSIDE if module == name}
    assert {
        other for other in outside if not any(f"{other}.".startswith(f"{library}.") for library in allowed)
    } == set()


def test_libraries_allowed_to_pure_modules_are_used_by_them() -> None:
    for name, library in OUTSIDE:
        assert any(f"{other}.".startswith(f"{library}.") for other in imports(PURE[name])), (name, library)


@pytest.mark.parametrize("name", PURE)
def test_codecs_and_dialects_are_pure(name: str) -> None:
    """No clock, socket, file, logger, random number: what they need comes in, what they want done goes out."""
    touched = {other.split(".")[0] for other in imports(PURE[name])} & IMPURE_MODULES
    assert touched == set()
    for node in nodes(PURE[name]):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, f"{name}:{node.lineno}: {node.func.id}()"
        assert not (isinstance(node.func, ast.Attribute) and node.func.attr in DRAWING_CALLS), f"{name}:{node.lineno}"
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            call = (node.func.value.id, node.func.attr)
            assert call not in CLOCK_CALLS, f"{name}:{node.lineno}: {'.'.join(call)}()"


@pytest.mark.parametrize("name", PURE)
def test_codecs_define_no_coroutine(name: str) -> None:
    assert not any(isinstance(node, (ast.AsyncFunctionDef, ast.Await)) for node in nodes(PURE[name]))


@pytest.mark.parametrize("name", WITH_IO)
def test_transports_destinations_and_clients_know_codecs_clients_and_the_contract(name: str) -> None:
    own = f"engine.features.{feature(name)}."
    rooms = (
        (f"{own}client.", f"{own}wire.", f"{own}rules.") if feature(name) else (".".join(name.split(".")[:2]) + ".",)
    )
    known = {
        other
        for other in ours(imports(WITH_IO[name]))
        if other not in CONTRACT_WITH_IO
        and not f"{other}.".startswith(("adapters.clients.", "adapters.codecs.", *rooms))
    }

    assert known == set()


@pytest.mark.parametrize("name", ENGINE)
def test_the_engine_reaches_adapters_only_through_the_registry(name: str) -> None:
    if name not in PURE and name not in WITH_IO:
        assert {other for other in imports(ENGINE[name]) if other.split(".")[0] == "adapters"} == set()


@pytest.mark.parametrize("name", ENGINE)
def test_folders_look_inwards_only(name: str) -> None:
    if name == "engine.store":
        return
    mine = room(name)
    for other in imports(ENGINE[name]):
        if other.startswith("workbench") and is_command(name):
            continue
        if other.startswith(("engine.", "workbench")) and room(other) > mine:
            pytest.fail(f"{name} ({ORDER[mine]}) imports {other} ({ORDER[room(other)]})")


def listed(kind: str) -> set[tuple[str, str]]:
    rows = [line.split("\t") for line in PAIRS.read_text(encoding="utf-8").splitlines()[1:]]
    assert [row[0] for row in rows if row[0] not in AT_MOST] == []
    pairs = [(module, other) for name, module, other in rows if name == kind]
    assert len(pairs) == len(set(pairs)) <= AT_MOST[kind], kind
    return set(pairs)


def pairs_of(found: Callable[[Path], frozenset[str]]) -> set[tuple[str, str]]:
    """Every module of the engine and of the adapters, with each module of a feature that it imports."""
    return {(name, other) for name, path in product().items() for other in found(path) if feature(other)}


def product() -> dict[str, Path]:
    """The modules of the engine and of the adapters."""
    return {name: path for name, path in {**ENGINE, **ADAPTERS}.items() if not name.startswith("workbench")}


def test_the_core_names_no_feature() -> None:
    """Types count, too."""
    assert {(name, other) for name, other in pairs_of(imports) if not feature(name)} == set()


def test_the_core_has_no_word_of_a_feature() -> None:
    """In no name of its own: a class, a function, an argument, an attribute."""
    found = {
        (name, given)
        for name, path in ENGINE.items()
        if not feature(name) and not name.startswith(("engine.model", "workbench"))
        for node in nodes(path)
        for given in named(node)
        if OF_A_FEATURE & {word.lower().removesuffix("s") for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", given)}
    }
    assert found == set()


def named(node: ast.AST) -> Iterator[str]:
    for what in ("id", "attr", "arg", "name", "asname"):
        if isinstance(given := getattr(node, what, None), str):
            yield given


def test_features_do_not_know_each_other() -> None:
    found = {(name, other) for name, other in pairs_of(imports) if feature(name) not in ("", feature(other))}
    assert found - listed("arrow") == set()
    assert listed("arrow") - found == set(), "take these out of the file"


def test_a_feature_looks_inwards_only() -> None:
    """Within its folder: a name of `IN_A_FEATURE` imports those before it."""
    found = {
        (name, other)
        for name, other in pairs_of(imported_to_run)
        if feature(name) == feature(other) and part(other) and place(part(other)) > place(part(name))
    }
    assert found - listed("inside") == set()
    assert listed("inside") - found == set(), "take these out of the file"


def place(name: str) -> int:
    return IN_A_FEATURE.index("service" if name in AS_SERVICE else name) if name else -1


def test_a_feature_has_the_same_few_names_as_every_other() -> None:
    names = {part(name) for name in ENGINE if part(name)}
    assert names - {*IN_A_FEATURE, *AS_SERVICE} == set()
    folders = [
        path for path in (CHECKOUT / "engine" / "features").rglob("*") if path.is_dir() and path.name != "__pycache__"
    ]
    bare = [
        path for path in folders if not (path / "__init__.py").is_file() and path.name not in ("templates", "locale")
    ]
    assert bare == [], "give it an __init__.py; or another branch has left it, with __pycache__ alone: remove it"


@pytest.mark.parametrize("name", of_features("rules"))
def test_what_a_feature_decides_is_pure(name: str) -> None:
    assert {other.split(".")[0] for other in imports(ENGINE[name])} & IMPURE_MODULES <= IN_MEMORY


def test_what_follows_each_other_is_pure() -> None:
    found = {name: path for name, path in ENGINE.items() if name.startswith("engine.succession")}
    touched = {name: {other.split(".")[0] for other in imports(path)} & IMPURE_MODULES for name, path in found.items()}
    assert {name: others for name, others in touched.items() if others - IN_MEMORY} == {}


def test_modules_are_imported_at_the_top() -> None:
    """An import within a function hides a ring of modules, or what a module needs."""
    late = {
        (name, other)
        for name, path in {**ENGINE, **ADAPTERS}.items()
        if not is_command(name)
        for function in nodes(path)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for other in ours(_imported_by(ast.walk(function)))
    }
    assert late == IMPORTED_LATE.keys()


def test_modules_do_not_import_each_other_in_a_ring() -> None:
    """Taken away from the inside out, as long as one imports no other that is left; a ring is left over."""
    left = {name: ours(imported_to_run(path)) - {name} for name, path in {**ENGINE, **ADAPTERS}.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert left.keys() == set()


def test_no_module_lies_flat() -> None:
    assert {path.name for path in (CHECKOUT / "engine").glob("*.py")} == {"__init__.py", "__main__.py", "feature.py"}


def test_tests_lie_in_the_folders_of_what_they_test() -> None:
    folders = {path.parent.relative_to(CHECKOUT / "tests") for path in (CHECKOUT / "tests").rglob("test_*.py")}
    rooms = {folder for folder in folders if folder.parts[:1] in (("engine",), ("adapters",), ("workbench",))}
    assert [str(folder) for folder in rooms if not (CHECKOUT / folder).is_dir()] == []


@pytest.mark.parametrize(("one", "other"), APART, ids=["mapping and store"])
def test_some_folders_do_not_know_each_other(one: str, other: str) -> None:
    for name, path in ENGINE.items():
        for mine, theirs in ((one, other), (other, one)):
            if name.startswith(f"{mine}."):
                assert {known for known in imports(path) if known.startswith(theirs)} == set(), name


def test_a_mapping_knows_no_configuration_of_a_site() -> None:
    for name, path in ENGINE.items():
        if name.startswith("engine.mapping"):
            known = {other for other in imports(path) if other.startswith("engine.config")}
            assert known <= OF_CONFIG_IN_MAPPING, name


def test_only_commands_use_the_tools_of_developers() -> None:
    for name, path in ENGINE.items():
        if not name.startswith("workbench") and not is_command(name):
            assert not any(other.startswith("workbench") for other in imports(path)), name


def test_only_commands_and_tests_run_commands() -> None:
    for name, path in ENGINE.items():
        if not name.startswith("engine.__main__") and not is_command(name):
            assert not any(other.startswith("engine.commands") for other in imports(path)), name


def test_views_know_nothing_of_who_renders_them() -> None:
    """A terminal, a page and an interface of HTTP take the same rows."""
    for name, path in ENGINE.items():
        if name.startswith("engine.views") or part(name) == "lists":
            known = {other.split(".")[0] for other in imports(path)}
            assert known & {"click", "jinja2", "markupsafe", "aiohttp"} == set(), name


def test_only_the_store_and_the_rows_of_features_have_sql() -> None:
    found = {name: list(_statements(path)) for name, path in {**ENGINE, **ADAPTERS}.items()}
    assert [name for name in found if name.startswith("engine.store") and found[name]] != []
    assert [name for name in found if name.startswith(OTHERS_WITH_SQL) and found[name]] != []
    assert [name for name in found if ROWS.match(name) and found[name]] != []
    others = {name: lines for name, lines in found.items() if not name.startswith(("engine.store", OTHERS_WITH_SQL))}
    assert {name: lines for name, lines in others.items() if lines and not ROWS.match(name)} == {}


def _statements(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value):
            yield f"{node.lineno}: {node.value[:40]}"


def test_the_product_does_not_import_its_tests_or_tools() -> None:
    for name, path in {**ENGINE, **ADAPTERS}.items():
        assert {other for other in imports(path) if other.split(".")[0] in ("tests", "tools", "pytest")} == set(), name


def test_adapters_are_named_by_modules_that_exist() -> None:
    named = {
        node.value
        for path in ENGINE.values()
        for node in nodes(path)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"(adapters|engine\.features)(\.\w+)+", node.value)
    }
    assert named <= ADAPTERS.keys() | ENGINE.keys()
    assert {"adapters.codecs.hl7v2.mllp", "adapters.destinations.mllp_out"} <= named


def test_data_folders_hold_data() -> None:
    for folder in DATA_FOLDERS:
        programs = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / folder).rglob("*.py")}
        assert programs - TO_BE_COPIED == set(), folder


def test_every_module_says_what_it_is() -> None:
    silent = [name for name, path in {**ENGINE, **ADAPTERS}.items() if not ast.get_docstring(tree(path))]
    assert silent == []


def test_no_function_is_long() -> None:
    lengths = {
        f"{name}:{node.lineno}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, path in product().items()
        for node in nodes(path)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def test_no_module_is_long() -> None:
    lengths = {name: path.read_bytes().count(b"\n") for name, path in product().items()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_no_folder_is_large() -> None:
    """More than a reader can take in: what belongs together goes into a folder of its own."""
    files = Counter(path.parent for path in {**ENGINE, **ADAPTERS}.values() if path.name != "__init__.py")
    assert CHECKOUT / "engine" / "model" in files
    large = {str(folder.relative_to(CHECKOUT)): count for folder, count in files.items() if count > LARGEST_FOLDER}
    assert large == {}


def test_no_module_is_named_for_nothing() -> None:
    """A name that says nothing collects everything."""
    assert [
        name for name in {**ENGINE, **ADAPTERS} if name.rsplit(".", 1)[-1] in ("utils", "helpers", "common", "misc")
    ] == []


def test_errors_are_declared_in_one_place() -> None:
    """Each other one is private: raised and caught in its own module."""
    errors = {name for module, name in classes() if module in ERRORS}
    assert {"LabRelayError", "LineError", "RefusalError"} <= errors
    elsewhere = [
        f"{module}.{node.name}"
        for module, path in {**ENGINE, **ADAPTERS}.items()
        for node in nodes(path)
        if isinstance(node, ast.ClassDef) and module not in ERRORS and not node.name.startswith("_")
        for base in map(ast.unparse, node.bases)
        if base.rpartition(".")[2] in errors | BUILT_IN_ERRORS
    ]
    assert elsewhere == []


def test_no_class_is_cut_into_files_by_inheritance() -> None:
    """A class has at most two levels of our own bases, and at most two of them side by side: what it needs, it is
    given, and so its file says it."""
    found = classes()
    cut = [
        f"{module}.{name}"
        for module, name in found
        if ERROR not in (bases := set(bases_of((module, name))))
        and (levels((module, name)) > 2 or (len(found[module, name]) > 2 and SETTINGS not in bases))
    ]
    assert cut == []


Class = tuple[str, str]  # module, name


@cache
def classes() -> dict[Class, list[Class]]:
    """Every class of the product, with its bases among them."""
    found: dict[Class, list[Class]] = {}
    for module, path in {**ENGINE, **ADAPTERS}.items():
        known = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in nodes(path)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                found[module, node.name] = [_class_named(base, module, known) for base in node.bases]
    return {one: [base for base in bases if base in found] for one, bases in found.items()}


def _class_named(base: ast.expr, module: str, known: dict[str, Class]) -> Class:
    if isinstance(base, ast.Subscript):
        return _class_named(base.value, module, known)
    if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
        return ".".join(known.get(base.value.id, ("", base.value.id))), base.attr
    return known.get(base.id, (module, base.id)) if isinstance(base, ast.Name) else ("", "")


def bases_of(one: Class) -> Iterator[Class]:
    """All of them, with those of its bases."""
    for base in classes()[one]:
        yield base
        yield from bases_of(base)


def levels(one: Class) -> int:
    return max((1 + levels(base) for base in classes()[one]), default=0)


def test_the_readers_of_the_standards_are_loaded_where_a_site_asks_for_them_alone() -> None:
    """They are large and slow to load: no daemon and no other command pays for them."""
    loads = re.compile(r"^\s*(?:import|from)\s+(?:hl7apy|fhir)\b|import_module\(\"(?:hl7apy|fhir)\b", re.MULTILINE)
    users = {name for name, path in {**ENGINE, **ADAPTERS}.items() if loads.search(path.read_text(encoding="utf-8"))}
    assert users == {"engine.commands.shared.sampling"}
