"""A shipped mapping with the tables of a pack is the same, whether its source was generated for them or for others."""

from contextlib import suppress

import orjson
import pytest

from engine.mapping import loading
from engine.mapping.code_tables.tables import Table
from engine.mapping.generated import Generated
from engine.mapping.program import Program
from tests.support import loaded_once
from tests.support.shipped import ANALYZERS, MAPPINGS

PACKS = ("sysmex-xn", "mindray-bc5380")  # whose tables have the same columns


def shown(value: object) -> object:
    with suppress(TypeError):
        return orjson.dumps(value)  # a piece of a document is JSON already, and has no other text
    return getattr(value, "__qualname__", repr(value))


def said(made: Generated, tables: dict[str, Table]) -> object:
    """All of it; a table among the constants is named, and must be the program's own."""
    assert made.uncompiled is not None
    names = {id(of): name for name, table in tables.items() for of in (table, table.exact)}
    bound = {
        name: ("table", names[id(value)]) if isinstance(value, Table) or id(value) in names else shown(value)
        for name, value in made.uncompiled.constants.items()
    }
    return made.uncompiled.text(), bound, made.uncompiled.source.rules, made.read, made.repetitions


def facts(program: Program) -> object:
    return (
        *(program.content_hash, program.files, program.columns, program.settings_read, program.report_numbers),
        *(program.reads_aside, [str(one) for one in program.problems], program.structures),
    )


@pytest.mark.compiles
@pytest.mark.parametrize("name", ["hl7-results", "results-hl7", "astm-results", "hl7-oul-to-csv"])
def test_other_tables_of_the_same_shape_give_the_same_program(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kept in ("_kept", "_source"):
        monkeypatch.setattr(loaded_once, kept, {})
    reused = 0
    for pack in PACKS:
        tables = {"analytes": f"{pack}/codes.csv"}
        anew = loading.load(name, (MAPPINGS, ANALYZERS), tables=tables)
        known = len(loaded_once._source)
        with loaded_once.shipped_mappings_once():
            once = loading.load(name, (MAPPINGS, ANALYZERS), tables=tables)
            reused += len(loaded_once._source) == known
            traced = [once.compile_traced(structure) for structure in once.structures]
        assert facts(once) == facts(anew)
        for structure, in_steps in zip(once.structures, traced, strict=True):
            assert said(once.plain[structure], once.tables) == said(anew.plain[structure], anew.tables)
            assert said(in_steps, once.tables) == said(anew.compile_traced(structure), anew.tables)
    assert reused
