"""Settings of mappings that have a form of their own: a mistake in one is found where it is written, in a channel file
or a pack. Of the others any text is taken.

``r4`` names the components of R-4 of ASTM E1394 in their order (`engine.mapping.functions.astm`). A component
may have any name. But a name that is nearly a word of this setting is a slip, and one of what a field of its own holds
(a unit) would make a component of it.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator

from engine.config.reading.values import Model
from engine.model.content.results import CALL, LEFT_OUT, VALUE, component_names
from engine.model.texts.spelling import did_you_mean

_YEAR = re.compile(r"[0-9]{4}", re.ASCII).fullmatch
_OTHER_SIGN = re.compile(r"\?|\[.*\]").search
_NEARLY = 0.8  # share of the letters that a slip has in common with the word; Kell, cell and scale are names
_ALLOWED = f"a component is {VALUE}, {CALL} (a word beside the value), {LEFT_OUT} (left out), or has a name of its own"
_OWN_FIELDS = {"unit": "R-5", "units": "R-5", "range": "R-6", "flag": "R-7", "flags": "R-7", "status": "R-9"}


def _components(given: Any) -> Any:
    if not isinstance(given, str):
        raise ValueError(f"expected the names of the components of R-4 in their order, as call^value; {_ALLOWED}")
    names = component_names(given)
    for at, name in enumerate(names, 1):
        if not name:
            raise ValueError(f"component {at} has no name; write {LEFT_OUT} where it is to be left out")
        if name != LEFT_OUT and name in names[: at - 1]:
            raise ValueError(f"{name} is there twice, and one of the two would be lost")
        if field := _OWN_FIELDS.get(name.lower()):
            raise ValueError(f"{name} would be a component of this name: it is read from {field} alone; {_ALLOWED}")
        if name not in (VALUE, CALL) and (near := did_you_mean(name, (VALUE, CALL), _NEARLY)):
            raise ValueError(f"{name}: {near} {_ALLOWED[0].upper()}{_ALLOWED[1:]}")
    return given


def _tables(given: Any) -> Any:
    if not isinstance(given, dict) or not all(map(_are_files, given.values())):
        raise ValueError(
            "tables maps a table's name to a CSV file, as tables: {analytes: tables/mine.csv}, or to several, the "
            "first of which is asked first: {analytes: [tables/mine.csv, sysmex-xn/codes.csv]}"
        )
    return given


def _are_files(files: object) -> bool:
    return isinstance(files, str) or (
        isinstance(files, list) and bool(files) and all(isinstance(file, str) for file in files)
    )


def _year(given: Any) -> Any:
    if isinstance(given, bool) or not _YEAR(str(given)):
        raise ValueError("expected a year of four digits, as first_year: 1995")
    return given


def number_patterns(given: Any) -> Any:
    """A pattern of controls, or several; refused where one of them fits everything, or has a sign of other patterns."""
    listed = given if isinstance(given, (list, tuple)) else (given,)
    if any(isinstance(one, str) and one and not one.strip("*") for one in listed):
        raise ValueError("this pattern fits each number and code, so that each is that of a control; as QC*")
    if (other := next(filter(_OTHER_SIGN, (one for one in listed if isinstance(one, str))), None)) is not None:
        raise ValueError(f"{other}: the only sign of a pattern is *, for any text; write * for ? and for [...]")
    return given


def _computed(given: Any) -> Any:
    if not isinstance(given, dict) or not all(map(_are_codes, given.values())):
        raise ValueError(
            "computed names the tests that each test is made of, as computed: {EGFR: [CRE], LDL: [CHOL, HDL, TG]}; "
            "[] says that it is measured"
        )
    if twice := next((test for test, sources in given.items() if test in sources), None):
        raise ValueError(f"{twice} would be made of itself; name the tests that are measured")
    return given


def _are_codes(sources: object) -> bool:
    return isinstance(sources, list) and all(isinstance(code, str) and code for code in sources)


class MappingSettings(Model):
    """The settings that have a form of their own."""

    computed: Annotated[Any, AfterValidator(_computed)] = None
    control_numbers: Annotated[Any, AfterValidator(number_patterns)] = None
    control_orders: Annotated[Any, AfterValidator(number_patterns)] = None

    first_year: Annotated[Any, AfterValidator(_year)] = None

    r4: Annotated[Any, AfterValidator(_components)] = None
    tables: Annotated[Any, AfterValidator(_tables)] = None


def with_known_forms(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a channel or pack, those with a form of their own checked.

    Raises:
        ValidationError: places are those below ``settings``.
    """
    MappingSettings.model_validate({name: settings[name] for name in MappingSettings.model_fields if name in settings})
    return settings
