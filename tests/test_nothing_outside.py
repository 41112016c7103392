"""The repository alone: no path in it leads to a file beside it. Who clones it has nothing beside it.

Read from the text. Followed are paths that begin at ``__file__``: parents, joined names, constants of a module, also
imported ones. A path that is made in another way is found by the names of the folders beside it, and where a test opens
it, by `tests/support/outside.py`.
"""

import ast
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from os.path import normpath
from pathlib import Path, PurePath

import pytest

from tests.support.outside import OpensNothingOutside, OutsideError
from tests.support.packages import PACKAGES

ROOT = Path(__file__).parents[1]
FOLDERS = (*PACKAGES, "samples", "tests", "tools")
ONE_PLACE = "tests/support/corpus.py"
KNOWN = {  # file -> why it may
    ONE_PLACE: "its tests are skipped where the files are absent",
    "tests/test_nothing_outside.py": "it has the names that it looks for",
}
BESIDE = re.compile(r"(^|[\s\"'=:(])(\.\./)+shared\b|\bshared/(corpus|reference|design)\b")
# Without one of these a text names nothing outside; most modules are not read further.
UPWARDS = re.compile(r"\.parents?\b|dirname|[\"'/](\.\.|shared\b)")
USE = f"read it with {ONE_PLACE}, and mark the test: @pytest.mark.corpus or @pytest.mark.reference"
Names = dict[str, PurePath]


@cache
def constants(path: Path) -> Names:
    """The paths that names of a module of ours stand for, as far as its text says."""
    return constants_in(ast.parse(path.read_bytes()), path)


def constants_in(module: ast.Module, path: Path) -> Names:
    found: Names = {}
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            wanted = [one for one in node.names if one.name.isupper()]
            other = ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
            if wanted and other.is_file() and str(other.relative_to(ROOT)) != ONE_PLACE:
                theirs = constants(other)
                found |= {one.asname or one.name: theirs[one.name] for one in wanted if one.name in theirs}
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and (place := followed(node.value, path, found)) is not None
        ):
            found[node.targets[0].id] = place
    return found


def followed(node: ast.AST, path: Path, names: Names) -> PurePath | None:
    """The path that an expression is; None where its text does not say."""
    match node:
        case ast.Name(id="__file__"):
            return PurePath(path)
        case ast.Name(id=name):
            return names.get(name)
        case ast.Call(func=ast.Name(id="Path" | "PurePath" | "str"), args=[inner]):
            return followed(inner, path, names)
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="path"), attr="dirname"), args=[inner]):
            return _up(followed(inner, path, names), 1)
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="path"), attr="join"), args=[inner, *parts]):
            return _joined(followed(inner, path, names), parts)
        case ast.Call(func=ast.Attribute(value=inner, attr="joinpath"), args=parts):
            return _joined(followed(inner, path, names), parts)
        case ast.Call(func=ast.Attribute(value=inner, attr="resolve" | "absolute")):
            return followed(inner, path, names)
        case ast.Attribute(value=inner, attr="parent"):
            return _up(followed(inner, path, names), 1)
        case ast.Subscript(value=ast.Attribute(value=inner, attr="parents"), slice=ast.Constant(value=int(number))):
            return _up(followed(inner, path, names), number + 1)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _joined(followed(left, path, names), [right])
    return None


def _up(place: PurePath | None, steps: int) -> PurePath | None:
    return None if place is None else PurePath(normpath(place / "/".join([".."] * steps)))


def _joined(place: PurePath | None, parts: list[ast.expr]) -> PurePath | None:
    for part in parts:
        if place is None or not isinstance(part, ast.Constant) or not isinstance(part.value, str):
            return None
        place = PurePath(normpath(place / part.value))
    return place


def outside(path: Path, text: str) -> Iterator[str]:
    """Where a module leaves the repository."""
    if not UPWARDS.search(text):
        return
    module = ast.parse(text)
    names = constants_in(module, path)
    for node in ast.walk(module):
        place = followed(node, path, names)
        if place is not None and not place.is_relative_to(ROOT):
            yield f"line {node.lineno}: {ast.unparse(node)} is outside of the repository"  # type: ignore[attr-defined]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and BESIDE.search(node.value):
            yield f"line {node.lineno}: names what lies beside the repository"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and BESIDE.search(_names_of(node)):
            yield f"line {node.lineno}: {ast.unparse(node)} names what lies beside the repository"


def _names_of(node: ast.expr) -> str:
    """``base / "a" / "b"`` to a/b."""
    if isinstance(node, ast.BinOp):
        return f"{_names_of(node.left)}/{_names_of(node.right)}"
    return str(node.value) if isinstance(node, ast.Constant) else ""


def modules() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts
    )


def _of(name: str) -> Iterator[str]:
    return outside(ROOT / name, (ROOT / name).read_text(encoding="utf-8"))


def test_no_module_leaves_the_repository() -> None:
    found = {name: list(_of(name)) for name in modules() if name not in KNOWN}
    assert {name: why for name, why in found.items() if why} == {}, USE


def test_no_script_names_what_lies_beside_the_repository() -> None:
    """Of what is run; documents are read by people."""
    scripts = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "Dockerfile", *(ROOT / ".ci").iterdir()]
    scripts += [path for folder in ("tools", "config", "systemd", "tests") for path in (ROOT / folder).rglob("*")]
    texts = [path for path in scripts if path.suffix in ("", ".sh", ".toml", ".yaml", ".mjs") and path.is_file()]
    found = [name for path in texts if (name := str(path.relative_to(ROOT))) not in KNOWN and _names_beside(path)]
    assert found == [], USE


def _names_beside(path: Path) -> bool:
    return BESIDE.search(path.read_text(encoding="utf-8", errors="replace")) is not None


def test_what_is_known_to_do_so_still_does() -> None:
    assert [name for name in KNOWN if not _names_beside(ROOT / name) and not list(_of(name))] == []


@pytest.mark.parametrize(
    "text",
    [
        'Path(__file__).parents[2] / "one.txt"',
        'Path(__file__).resolve().parents[1].parent / "shared"',
        'HERE = Path(__file__).parent\nHERE.parents[1] / "x"',
        'Path(__file__).parent / ".." / ".." / "x"',
        'Path(__file__).parent.joinpath("../../x")',
        "import os\nos.path.join(os.path.dirname(__file__), '..', '..', 'x')",
        "from tests.test_nothing_outside import ROOT\nROOT.parent",
        'open("../shared/corpus/one")',
        'import os\nPath(os.environ["HOME"]) / "shared" / "corpus"',
        'def test_it():\n    assert (Path(__file__).parents[3] / "x").is_file()',
    ],
)
def test_a_module_that_leaves_it_is_found(text: str) -> None:
    assert list(outside(ROOT / "tests" / "made_up.py", text))


@pytest.mark.parametrize(
    "text",
    [
        'Path(__file__).parents[1] / "samples"',
        'Path(__file__).parent / ".." / "engine"',
        'def test_it(tmp_path):\n    tmp_path / ".." / "x"\n    tmp_path.parents[5]',
        "from engine.commands.shared import output",
        'Path(__file__).parents[1] / "engine" / "commands" / "shared"',
    ],
)
def test_a_module_that_stays_within_is_not(text: str) -> None:
    assert list(outside(ROOT / "tests" / "made_up.py", text)) == []


@pytest.mark.skipif(len(ROOT.parts) < 3, reason="beside a repository at the top is the whole system")
@pytest.mark.parametrize("opened", [open, os.listdir, os.scandir, lambda path: (Path(path) / "x").read_bytes()])
@pytest.mark.parametrize("written", ["{beside}", "{root}/../absent", "{root}/tests/../../absent"])
def test_a_test_that_opens_what_lies_beside_is_stopped(
    request: pytest.FixtureRequest, opened: Callable[[str], object], written: str
) -> None:
    path = written.format(beside=ROOT.with_name("absent"), root=ROOT)
    if Path(tempfile.gettempdir()).resolve() == ROOT.parent:
        pytest.skip("the repository lies among the temporary files, which tests may use")
    if not request.config.pluginmanager.hasplugin("opens-nothing-outside"):
        pytest.skip("coverage is measured: tests/conftest.py")
    with pytest.raises(OutsideError, match=r"absent.* use tests/support/corpus\.py"):
        opened(path)


@pytest.mark.parametrize("allowed", ["repository/samples/x", "temporary/x", ".cache/x", "repository"])
def test_a_test_may_open_the_rest(tmp_path: Path, request: pytest.FixtureRequest, allowed: str) -> None:
    outside = OpensNothingOutside(tmp_path / "repository", str(tmp_path / "temporary"))
    under_way = outside.pytest_runtest_protocol(request.node)
    next(under_way)
    with pytest.raises(OutsideError):
        outside.look("open", (str(tmp_path / "other"), "r", 0))
    outside.look("open", (str(tmp_path / allowed), "r", 0))
    outside.look("open", (7, "r", 0))
    under_way.close()
    outside.look("open", (str(tmp_path / "other"), "r", 0))
