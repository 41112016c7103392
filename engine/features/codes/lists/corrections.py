"""Corrections of code tables."""

from collections.abc import Mapping

from engine.model.corrections import ORDER, Correction
from engine.views.view import Field, View, at

CORRECTION = View[Correction](
    "corrections",
    Field("version", "VERSION", right=True),
    Field("at", "AT", of=at("at_us")),
    Field("by", "WHO"),
    Field("channel", "CHANNEL"),
    Field("table", "TABLE"),
    Field("key", "KEY", of=lambda one: dict(one.key), shown=lambda one: in_words(one.key)),
    Field("cells", "SAYS", of=lambda one: dict(one.cells), shown=lambda one: in_words(one.cells) or "as the files"),
    Field("covers", "FILES SAID", of=lambda one: dict(one.covers), shown=lambda one: in_words(one.covers) or "-"),
    Field("undoes", of=lambda one: one.undoes or None),
    Field("act"),
    Field("reason", "REASON"),
)


def in_words(cells: Mapping[str, str]) -> str:
    """Cells in one line, in the usual order of columns: ``loinc=718-7 unit=g/L``."""
    usual = {name: at for at, name in enumerate(ORDER)}
    names = sorted(cells, key=lambda name: (usual.get(name, len(usual)), name))
    return " ".join(f"{name}={cells[name]}" for name in names)
