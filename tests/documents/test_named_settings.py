"""A warning that a setting of the channel settles names it with a value that does: then it is not there any more."""

from typing import Any

import pytest
import yaml

from engine.config.mapping_settings import with_known_forms
from engine.model.message import Issue
from engine.model.texts.named_settings import settings_in
from tests.documents.test_certain_numbers import HEADS, USUAL
from tests.documents.test_certain_numbers import SCENES as NUMBERS
from tests.documents.test_codes_in_other_places import ORACLE
from tests.documents.test_values_as_sent import SCENES as VALUES
from tests.support.shipped import verdict_of


def numbered(row: dict[str, str]) -> bytes:
    records = [USUAL.get(one, one) for one in row["records"].split(" ¶ ")]
    kind = "OUL" if records[1].startswith("SPM") else records[0].partition("|")[0]
    return "\r".join([HEADS[kind], *records, *(["L|1|N"] if kind == "P" else []), ""]).encode()


MESSAGES: dict[str, tuple[bytes, dict[str, Any]]] = {
    **{f"codes: {name}": says[:2] for name, says in ORACLE.items()},
    **{f"values: {name}": (scene.message, scene.settings) for name, scene in VALUES.items()},
    **{f"numbers: {row['scene']}": (numbered(row), yaml.safe_load(row["settings"]) or {}) for row in NUMBERS},
}
MESSAGES |= {
    "dead: two components": (MESSAGES["numbers: tube and rack"][0], {"no_specimen": "dead"}),
    "light units over HL7": (VALUES["a mode of HL7"].message.replace(b"K||4.9|mmol/L", b"TSH/RLU||4.9|"), {}),
}


def told(message: bytes, settings: dict[str, Any]) -> list[Issue]:
    verdict, _ = verdict_of(message, "hl7v2" if message.startswith(b"MSH") else "astm", settings)
    dead = [Issue(code=verdict.reason.value, text=verdict.detail)] if verdict.reason is not None else []
    return [*verdict.issues, *dead]


SEEN = {name: told(*message) for name, message in MESSAGES.items()}


def test_each_code_names_its_setting() -> None:
    named = {issue.code for issues in SEEN.values() for issue in issues if settings_in(issue.text)}
    assert named == {
        *("TUBE_PARTS", "NO_SPECIMEN", "NO_PATIENT_ID", "NO_DIGIT", "SAME_CODE", "UNLINKED", "CODE_PLACE"),
        *("VALUE_PARTS", "LIGHT_UNITS", "CONTROL_MODE"),
    }


@pytest.mark.parametrize(
    "name", [name for name, issues in SEEN.items() if any(settings_in(issue.text) for issue in issues)]
)
def test_a_setting_that_is_named_settles_it(name: str) -> None:
    """Of the forms of `r4` and `obx5` that a warning names, which differ by what the components are, one does."""
    message, settings = MESSAGES[name]
    for issue in SEEN[name]:
        remains = {}
        for setting in settings_in(issue.text):
            written = yaml.safe_load(setting)
            assert isinstance(written, dict), setting
            with_known_forms(written)
            if "tables" not in written:  # a file of the site
                left = told(message, {**settings, **written})
                remains[setting] = (issue.code, issue.text) in {(each.code, each.text) for each in left}
        if issue.code == "VALUE_PARTS":
            assert not all(remains.values()) or name.startswith("values: components that no number has"), remains
        else:
            assert not any(remains.values()), remains
