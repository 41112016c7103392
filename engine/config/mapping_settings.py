"""Settings of mappings that have a form of their own: a mistake in one is found where it is written, in a channel file
or a pack. Of the others any text is taken.

``r4`` and ``obx5`` name the components of R-4 (ASTM E1394) and OBX-5 (HL7 v2) in their order
(`engine.mapping.functions.value_parts`). A component may have any name. But a name that is nearly a word of this
setting is a slip, and one of what a field of its own holds (a unit) would make a component of it.
"""

import re
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator

from engine.config.reading.values import Model
from engine.model.content.numbers import PLACES
from engine.model.content.results import CALL, FLAG, LEFT_OUT, VALUE, component_names
from engine.model.texts.spelling import did_you_mean

_OTHER_SIGN = re.compile(r"\?|\[.*\]").search
_NEARLY = 0.8  # share of the letters that a slip has in common with the word; Kell, cell and scale are names
_ROLES = (VALUE, CALL, FLAG)
_ALLOWED = (
    f"a component is {VALUE}, {CALL} (a word beside the value), {FLAG} (H, LL ...), {LEFT_OUT} (left out), or has a "
    "name of its own"
)
_OWN_FIELDS = {
    "R-4": {"unit": "R-5", "units": "R-5", "range": "R-6", "status": "R-9"},
    "OBX-5": {"unit": "OBX-6", "units": "OBX-6", "range": "OBX-7", "status": "OBX-11"},
}


def _components(field: str, given: Any) -> Any:
    if not isinstance(given, str):
        raise ValueError(f"expected the names of the components of {field} in their order, as call^value; {_ALLOWED}")
    names = component_names(given)
    for at, name in enumerate(names, 1):
        if not name:
            raise ValueError(f"component {at} has no name; write {LEFT_OUT} where it is to be left out")
        if name != LEFT_OUT and name in names[: at - 1]:
            raise ValueError(f"{name} is there twice, and one of the two would be lost")
        if own := _OWN_FIELDS[field].get(name.lower()):
            raise ValueError(f"{name} would be a component of this name: it is read from {own} alone; {_ALLOWED}")
        alike = 0 if sorted(name.lower()) in map(sorted, _ROLES) else _NEARLY
        if name not in _ROLES and (near := did_you_mean(name, _ROLES, alike)):
            raise ValueError(f"{name}: {near} {_ALLOWED[0].upper()}{_ALLOWED[1:]}")
    return given


def _fields(setting: Any) -> Any:
    for place in setting if isinstance(setting, list) else (setting,):
        name, _, number = str(place).partition("-")
        if number not in map(str, PLACES.get(name, ())):
            places = ", ".join(f"{name}-{number}" for name, numbers in PLACES.items() for number in numbers)
            raise ValueError(f"{place} is no field with a number; they are {places}; as not_numbers: [SPM-2]")
    return setting


def _tables(given: Any) -> Any:
    if not isinstance(given, dict) or not all(map(_are_files, given.values())):
        raise ValueError(
            "tables maps a table's name to a CSV file, as tables: {analytes: tables/mine.csv}, or to several, the "
            "first of which is asked first: {analytes: [tables/mine.csv, sysmex-xn/codes.csv]}"
        )
    return given


def _are_files(files: object) -> bool:
    return isinstance(files, str) or (bool(files) and _are_texts(files))


def _are_texts(listed: object) -> bool:
    return isinstance(listed, list) and all(isinstance(text, str) and text for text in listed)


def _formed(pattern: str, expected: str) -> AfterValidator:
    """A check of a setting of one text or number."""

    def check(given: Any) -> Any:
        if isinstance(given, bool) or not re.fullmatch(pattern, str(given), re.ASCII):
            raise ValueError(f"expected {expected}")
        return given

    return AfterValidator(check)


def _texts(texts: Any) -> Any:
    if not (texts and isinstance(texts, str)) and not _are_texts(texts):
        raise ValueError("expected a text or a list of texts, as [NOID]")
    return texts


def number_patterns(given: Any) -> Any:
    """A pattern of controls, or several; refused where one of them fits everything, or has a sign of other patterns."""
    listed = given if isinstance(given, (list, tuple)) else (given,)
    if any(isinstance(one, str) and one and not one.strip("*") for one in listed):
        raise ValueError("this pattern fits each number and code, so that each is that of a control; as QC*")
    if (other := next(filter(_OTHER_SIGN, (one for one in listed if isinstance(one, str))), None)) is not None:
        raise ValueError(f"{other}: the only sign of a pattern is *, for any text; write * for ? and for [...]")
    return given


def _computed(given: Any) -> Any:
    if not isinstance(given, dict) or not all(map(_are_texts, given.values())):
        raise ValueError(
            "computed names the tests that each test is made of, as computed: {EGFR: [CRE], LDL: [CHOL, HDL, TG]}; "
            "[] says that it is measured"
        )
    if twice := next((test for test, sources in given.items() if test in sources), None):
        raise ValueError(f"{twice} would be made of itself; name the tests that are measured")
    return given


_PLACE = r"(?:[1-9]|1[01]|O-[34]\.[2-9])"
_PLACES = _formed(f"{_PLACE}(?:/{_PLACE})*", "components of R-3, as test_code: 4/6; O-3.2 behind them: the isolate")


class MappingSettings(Model):
    """The settings that have a form of their own."""

    beside_code: Annotated[Any, _PLACES] = None
    computed: Annotated[Any, AfterValidator(_computed)] = None
    control_modes: Annotated[Any, AfterValidator(_texts), AfterValidator(number_patterns)] = None
    control_numbers: Annotated[Any, AfterValidator(number_patterns)] = None
    control_orders: Annotated[Any, AfterValidator(number_patterns)] = None
    first_year: Annotated[Any, _formed(r"[0-9]{4}", "a year of four digits, as first_year: 1995")] = None
    no_specimen_ids: Annotated[Any, AfterValidator(_texts)] = None
    not_numbers: Annotated[Any, AfterValidator(_fields)] = None
    obx3: Annotated[Any, _formed("row|code", "row (OBX-3 numbers the rows, and OBX-4 is the code) or code")] = None
    obx5: Annotated[Any, AfterValidator(partial(_components, "OBX-5"))] = None
    r4: Annotated[Any, AfterValidator(partial(_components, "R-4"))] = None
    specimen: Annotated[
        Any, _formed(r"O-[34]\.[1-9]", "the component of O-3 or O-4 that is the number of the specimen, as O-4.2")
    ] = None
    table_code: Annotated[Any, _PLACES] = None
    tables: Annotated[Any, AfterValidator(_tables)] = None
    test_code: Annotated[Any, _PLACES] = None


def with_known_forms(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a channel or pack, those with a form of their own checked.

    Raises:
        ValidationError: places are those below ``settings``.
    """
    MappingSettings.model_validate({name: settings[name] for name in MappingSettings.model_fields if name in settings})
    return settings
