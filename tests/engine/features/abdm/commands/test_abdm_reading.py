"""`labrelay abdm status`, `contexts`, `consents`, `transfers`, `context` and `consent`: no daemon, no patient."""

import csv
import io
from contextlib import closing
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.abdm.lists import state_in_full, state_lines
from engine.features.abdm.rows.state import FacilityState
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState
from engine.model.process.clock import SystemClock
from engine.store.journal import Journal
from tests.support import abdm_rows
from tests.support.abdm_site import FACILITY
from tests.support.command_line import labrelay
from tests.support.sites import make_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_site(tmp_path_factory.mktemp("abdm"))
    with closing(Journal.open(made / "var", clock=SystemClock())) as journal:
        journal.run_alone(abdm_rows.fill)
    return made


COUNTS = (
    "moved same_number other_name calls_waiting calls_again calls_failed suspended unsure transfers_open"
    " last_callback_us callbacks_behind callbacks_refused"
)
NOTHING_YET = FacilityState(
    facility=FACILITY,
    name="",
    contexts=dict.fromkeys(ContextState, 0),
    consents=dict.fromkeys(ConsentState, 0),
    **dict.fromkeys(COUNTS.split(), 0),
)
FILTERED = {
    ("contexts",): [6, 5, 4, 3, 2, 1],
    ("contexts", "--state", "Linked"): [abdm_rows.LINKED],
    ("contexts", "--reason", "moved"): [abdm_rows.MOVED],
    ("contexts", "--facility", abdm_rows.WEST): [abdm_rows.OF_WEST],
    ("contexts", "--message", "2"): [abdm_rows.LINKED],
    ("contexts", "--report", "none"): [],
    ("consents",): [4, 3, 2, 1],
    ("consents", "--state", "revoked"): [abdm_rows.REVOKED],
    ("consents", "--reason", "suspended"): [abdm_rows.SUSPENDED],
    ("transfers",): [2, 1],
    ("transfers", "--consent", "1", "--state", "ended"): [abdm_rows.SENT],
}


@pytest.mark.parametrize("words", FILTERED, ids=" ".join)
def test_a_list_has_the_rows_of_its_filter(site: Path, words: tuple[str, ...]) -> None:
    ran = labrelay("abdm", *words, "-o", "json", site=site)
    assert [row["number"] for row in ran.json[words[0]]] == FILTERED[words]


def test_a_list_goes_on_page_by_page(site: Path) -> None:
    found, more = [], ""
    for _ in range(3):
        said = labrelay("abdm", "contexts", "--limit", "2", *more.split(), "-o", "json", site=site).json
        found += [row["number"] for row in said["contexts"]]
        more = said["next"] or ""
    assert (found, more) == ([6, 5, 4, 3, 2, 1], "")


def test_csv_has_the_columns_of_the_table(site: Path) -> None:
    heading, *rows = csv.reader(io.StringIO(labrelay("abdm", "consents", "-o", "csv", site=site).out))
    assert heading[:5] == ["number", "changed", "facility", "state", "reason"]
    assert [row[0] for row in rows] == ["4", "3", "2", "1"]
    assert dict(zip(heading, rows[-1], strict=True))["patient"] == "M*** I*** **-****-****-0016 m***@sbx"


def test_the_status_says_what_is_not_well_and_where_to_look(site: Path) -> None:
    ran = labrelay("abdm", "status", site=site)
    assert ran.code == ExitCode.OK
    assert f"{FACILITY}: look at" in ran.out
    assert "suspended consents: 1 -> labrelay abdm consents --reason suspended" in ran.out
    assert f"{abdm_rows.WEST}: well" in ran.out
    assert "account: not looked at" in ran.out, "no daemon runs"
    said = labrelay("abdm", "status", "-o", "json", site=site).json
    assert said["well"] is False
    assert {one["facility"]: one["well"] for one in said["facilities"]} == {FACILITY: False, abdm_rows.WEST: True}
    assert said["facilities"][0]["consents"]["GRANTED"] == 3


def test_faults_of_the_account_are_a_part_of_the_state() -> None:
    stolen = {"code": "url-other", "text": "another URL has the callbacks", "remedy": "set the URL", "facility": ""}
    missing = {"code": "facility-missing", "text": "no HIP service", "remedy": "add it", "facility": FACILITY}
    account = {"destination": "abdm", "looked_at": None, "faults": [stolen, missing]}
    assert state_in_full([], account)["well"] is False
    assert state_in_full([], account | {"faults": []})["well"] is True
    lines = list(state_lines([NOTHING_YET], account))
    assert lines[:3] == [
        "account: look at",
        "  url-other: another URL has the callbacks -> set the URL",
        f"  facility-missing of {FACILITY}: no HIP service -> add it",
    ]
    assert f"{FACILITY}: well" in lines


def test_one_in_full_and_one_that_is_not_there(site: Path) -> None:
    ran = labrelay("abdm", "consent", "1", site=site)
    assert "granted purpose        CAREMGT" in ran.out
    assert "signature              not verified" in ran.out
    assert "pages of request 1" in ran.out
    assert "versions" in labrelay("abdm", "context", "1", site=site).out
    for noun in ("consent", "context"):
        ran = labrelay("abdm", noun, "99", site=site)
        assert ran.code == ExitCode.FAILED
        assert "99" in ran.err


def test_no_output_names_a_patient(site: Path) -> None:
    lists = [(words, form) for words in FILTERED for form in ("table", "json", "ndjson", "csv")]
    ones = [("status",), *(("context", str(n)) for n in range(1, 7)), *(("consent", str(n)) for n in abdm_rows.IDS)]
    for words, form in (*lists, *((words, form) for words in ones for form in ("table", "json"))):
        ran = labrelay("abdm", *words, "-o", form, site=site)
        assert ran.code == ExitCode.OK, ran.err
        assert [one for one in abdm_rows.secrets() if one in ran.out + ran.err] == [], words


def test_a_site_without_abdm_says_so(tmp_path: Path) -> None:
    made = make_site(tmp_path)
    with closing(Journal.open(made / "var", clock=SystemClock())):
        pass
    assert "nothing at ABDM" in labrelay("abdm", "status", site=made).out
    assert "no care context" in labrelay("abdm", "contexts", site=made).err
