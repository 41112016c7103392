"""Without ``codes:`` the table of the channel's results is read backwards: LOINC, then the analyzer's code.

rows of the table                     ordered as
GLU mg/dL, GLU mmol/L, one LOINC      GLU
GLU, two LOINC by their units         GLU for either
TSH and TSH3, one LOINC               refused, or the preferred one
"""

from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.config.load import load_site
from engine.model.process.clock import SystemClock
from engine.runtime.build import BuiltSite, build_site
from tests.support.command_line import labrelay
from tests.support.sites import make_site

HEAD = "code,unit_in,loinc,display,type,unit,ucum,factor,digits\n"
GLU = "GLU,mg/dL,2345-7,Glucose,NM,,mg/dL,,\n"
ROWS = GLU + "GLU,mmol/L,14749-6,Glucose,NM,,mmol/L,,\nTSH,mIU/L,3016-3,TSH,NM,,m[IU]/L,,\n"


def site(folder: Path, rows: str, orders: str = "{answer: query}", *, table: bool = True) -> Path:
    settings = "settings: {tables: {analytes: codes.csv}}\n" if table else ""
    text = (
        'channel: a\nsource: {kind: astm, listen: "127.0.0.1:0"}\n'
        f"orders: {orders}\nroutes: [{{mapping: astm-results, to: archive}}]\n{settings}"
    )
    made = make_site(folder, channels={"a.yaml": text}, answered=True)
    (made / "mappings" / "codes.csv").write_text(HEAD + rows)
    return made


def built(folder: Path) -> BuiltSite:
    return build_site(load_site(folder), identity_key=bytes(32), clock=SystemClock())


def test_the_table_is_read_backwards(tmp_path: Path) -> None:
    channel = built(site(tmp_path, ROWS)).channels["a"]

    assert channel.asking is not None
    assert channel.asking.settings.codes == {"2345-7": "GLU", "14749-6": "GLU", "3016-3": "TSH"}
    assert channel.routes.tests["TSH"] == "3016-3"


def test_the_preferred_code_is_ordered(tmp_path: Path) -> None:
    rows = ROWS + "TSH3,mIU/L,3016-3,TSH,NM,,m[IU]/L,,\n"
    channel = built(site(tmp_path, rows, "{answer: query, preferred: TSH3}")).channels["a"]

    assert channel.asking is not None
    assert channel.asking.settings.codes["3016-3"] == "TSH3"


@pytest.mark.parametrize(
    ("rows", "orders", "why"),
    [
        (ROWS + "TSH3,mIU/L,3016-3,TSH,NM,,m[IU]/L,,\n", "{answer: query}", "TSH and TSH3 are codes of 3016-3"),
        (
            ROWS + "TSH3,mIU/L,3016-3,TSH,NM,,m[IU]/L,,\n",
            "{answer: query, preferred: [TSH, TSH3]}",
            "TSH and TSH3 are codes of 3016-3",
        ),
        (ROWS, "{answer: query, preferred: FT4}", "no row of the table has the code 'FT4'"),
    ],
)
def test_a_table_that_does_not_say_which_test_is_refused(tmp_path: Path, rows: str, orders: str, why: str) -> None:
    ran = labrelay("check", site=site(tmp_path, rows, orders))

    assert ran.code == ExitCode.CONFIG
    assert "channels/a.yaml:3:" in ran.out + ran.err
    assert why in ran.out + ran.err


def test_a_shipped_table_is_of_no_analyzer(tmp_path: Path) -> None:
    """Its codes are those of many: an analyzer may stop on one that it does not know."""
    ran = labrelay("check", site=site(tmp_path, ROWS, table=False))

    assert ran.code == ExitCode.CONFIG
    assert "codes: is missing, and no table of this channel" in ran.out + ran.err
