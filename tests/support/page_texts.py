"""The English texts that a page can say, found by their marks in any folder of the engine.

A mark is a template's ``_("...")``; the type `PageText` or `Refusal` of a constant, of a table's values or of a class's
field; a call of `N_` or `R_`; and the first argument of a function that takes a text for the page. Nothing is imported.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from engine.web.desk import sentence

ENGINE = Path(__file__).parents[2] / "engine"
NO_PAGES = {"commands"}  # folders of modules that speak to a terminal alone
PAGE_TEXT, REFUSAL = "PageText", "Refusal"
MARKS = {"N_": PAGE_TEXT, "R_": REFUSAL}
TYPES = (PAGE_TEXT, REFUSAL)
FUNCTIONS = {"Phrase", "Said", "_by", "_found"}  # their first argument is a text
METHODS = {"say", "fact", "ago"}
SAME_IN_EACH = {"", "{text}", "{what}", "LabRelay", "LOINC"}  # no words, or names
_MARKED = re.compile(r"\b(?:PageText|Refusal|N_|R_)\b|\b(?:Phrase|Said|_by|_found)\(|\.(?:say|fact|ago)\(")
_DECLARES = re.compile(r": (?:PageText|Refusal)$", re.MULTILINE)  # a field of a class
_IN_TEMPLATE = re.compile(r"""_\((["'])(.*?)\1\)""")

Fields = Mapping[str | int, str]  # name or place of a field -> the kind of its mark
Found = Iterator[tuple[str, str]]  # kind of the mark, text


@cache
def page_texts() -> frozenset[str]:
    """As catalogues have them: a refusal as a sentence."""
    templates = (path.read_text(encoding="utf-8") for path in ENGINE.rglob("templates/**/*.html"))
    found = {text for template in templates for _, text in _IN_TEMPLATE.findall(template)}
    modules = {
        _name(path): path.read_text(encoding="utf-8")
        for path in ENGINE.rglob("*.py")
        if not NO_PAGES & set(path.relative_to(ENGINE).parts)
    }
    classes = {
        (module, name): places
        for module, code in modules.items()
        if _DECLARES.search(code)
        for name, places in _fields(ast.parse(code))
    }
    users = tuple(f"from {module} import " for module, _ in classes)
    for module, code in modules.items():
        if _MARKED.search(code) or any(one in code for one in users):
            said = _said(module, ast.parse(code), classes)
            found |= {sentence(text) if kind == REFUSAL else text for kind, text in said}
    return frozenset(found) - SAME_IN_EACH


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ENGINE.parent).with_suffix("").parts).removesuffix(".__init__")


def _fields(tree: ast.Module) -> Iterator[tuple[str, Fields]]:
    """Each class with marked fields: by their names and places, the kind of each."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
            named = {one.target.id: kind for one in fields if isinstance(one.target, ast.Name) if (kind := _kind(one))}
            places = {at: kind for at, one in enumerate(fields) if (kind := _kind(one))}
            if named:
                yield node.name, {**named, **places}


def _kind(field: ast.AnnAssign) -> str:
    return field.annotation.id if isinstance(field.annotation, ast.Name) and field.annotation.id in TYPES else ""


def _said(module: str, tree: ast.Module, classes: Mapping[tuple[str, str], Fields]) -> Found:
    origins = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            yield from _typed(node.annotation, node.value)
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", "")
            yield from _called(node, name, classes.get(origins.get(name, (module, name)), {}))


def _called(call: ast.Call, name: str, fields: Fields) -> Found:
    given: dict[str | int, ast.expr] = {one.arg: one.value for one in call.keywords if one.arg}
    given |= dict(enumerate(call.args))
    if name in MARKS:
        fields = {0: MARKS[name]}
    elif name in FUNCTIONS or getattr(call.func, "attr", "") in METHODS:
        fields = {0: PAGE_TEXT}
    for place in fields.keys() & given.keys():
        yield from ((fields[place], text) for text in _constants(given[place]))


def _typed(kind: ast.expr, value: ast.expr) -> Found:
    """The texts of a value whose type marks it, or marks a part of it."""
    match kind, value:
        case ast.Name(id="PageText" | "Refusal" as name), _:
            yield from ((name, text) for text in _constants(value))
        case ast.Subscript(value=ast.Name(id="Final"), slice=inner), _:
            yield from _typed(inner, value)
        case ast.Subscript(value=ast.Name(id="dict" | "Mapping"), slice=ast.Tuple(elts=[_, inner])), ast.Dict(
            values=values
        ):
            for one in values:
                yield from _typed(inner, one)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=kinds)), ast.Tuple(elts=values):
            for inner, one in zip(kinds, values, strict=False):
                yield from _typed(inner, one)


def _constants(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*_constants(node.body), *_constants(node.orelse))
    elif isinstance(node, ast.Tuple):
        yield from (text for one in node.elts for text in _constants(one))
