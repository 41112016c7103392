"""``role: orders`` and the ``lis:`` block of a channel: what cannot work is refused, at its place."""

from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.config.load import load_site
from engine.features.orders.config.orders import taken_of
from engine.features.orders.exchange.taking import take_settings
from engine.model.errors import ConfigError
from tests.support.command_line import labrelay
from tests.support.sites import SITE_YAML, make_site

MLLP = '{kind: mllp, listen: "127.0.0.1:0"}'
SEARCH = '{kind: fhir-search, url: "http://127.0.0.1:9/fhir"%s}'
ROUTE = "routes: [{mapping: orders-hl7}]\n"
ANALYZER = (
    'channel: chemistry\nsource: {kind: astm, listen: "127.0.0.1:0"}\n'
    "orders: {answer: query, codes: {TSH: '10'}, group: immunology}\nroutes: [{mapping: astm-results, to: archive}]\n"
)


def channels(block: str = "role: orders\n", source: str = MLLP, route: str = ROUTE) -> dict[str, str]:
    return {"chemistry.yaml": ANALYZER, "his.yaml": f"channel: his\nsource: {source}\n{block}{route}"}


def problem(folder: Path, block: str = "role: orders\n", source: str = MLLP, route: str = ROUTE) -> str:
    with pytest.raises(ConfigError) as caught:
        load_site(make_site(folder, channels=channels(block, source, route)))
    (found,) = caught.value.problems
    return found


def test_the_keys_say_how_orders_are_taken(tmp_path: Path) -> None:
    block = (
        "role: orders\nlis: {targets: immunology, codes: {'1': TSH}, panels: {THY: ['1']}, cancel: specimen,"
        " expires: 2d, specimen_reuse: 10d, control_numbers: 'QC*'}\n"
    )
    site = load_site(make_site(tmp_path, channels=channels(block)))
    settings = take_settings(site.channels, taken_of(site.channels["his"]))

    assert settings.targets == ("immunology",)
    assert settings.groups == {"immunology": frozenset({"chemistry"})}
    assert settings.codes == {"1": "TSH"}
    assert settings.panels == {"THY": ("1",)}
    assert settings.cancel_by_specimen
    assert (settings.expires_us, settings.specimen_reuse_us) == (2 * 86_400_000_000, 10 * 86_400_000_000)
    assert settings.is_control is not None
    assert [settings.is_control(number) for number in ("QC-1", "1QC", "qc-1")] == [True, False, False]


def test_each_key_may_be_left_out(tmp_path: Path) -> None:
    site = load_site(make_site(tmp_path, channels=channels()))
    settings = take_settings(site.channels, taken_of(site.channels["his"]))

    assert (settings.targets, settings.codes, settings.panels, settings.is_control) == ((), None, {}, None)
    assert not settings.cancel_by_specimen
    assert taken_of(site.channels["chemistry"]) is None


@pytest.mark.parametrize(
    ("block", "source", "where", "why"),
    [
        ("role: orders\n", '{kind: astm, listen: "127.0.0.1:0"}', "his.yaml:3:", "over mllp or http, as files"),
        ("role: orders\n", "{kind: folder, folder: in, format: astm}", "his.yaml:3:", "this source reads astm"),
        (
            "role: orders\n",
            '{kind: mllp, tee: {analyzer: {listen: "127.0.0.1:0"}, middleware: {connect: "127.0.0.1:9"}}}',
            "his.yaml:3:",
            "a tee only listens",
        ),
        ("", SEARCH % "", "his.yaml:1:", "kind: fhir-search asks for orders; say role: orders as well"),
        ("role: orders\n", SEARCH % ", parameters: {status: active}", "his.yaml:2:", "add revoked, or take it out"),
        ("role: orders\n", SEARCH % ", search: Task, parameters: {status: requested}", "his.yaml:2:", "add cancelled"),
        ("role: orders\n", SEARCH % ", parameters: {_count: '5'}", "his.yaml:2:", "_count is LabRelay's own"),
        ("role: orders\n", SEARCH % ", begin: 60d", "his.yaml:2:", "begin"),
        ("lis: {expires: 2d}\n", MLLP, "his.yaml:3:", "say role: orders as well"),
        ("role: orders\nlis:\n  control_numbers: [QC*, '*']\n", MLLP, "his.yaml:5:", "fits each number"),
        ("role: orders\nlis:\n  control_numbers: ['QC?']\n", MLLP, "his.yaml:5:", "the only sign of a pattern is *"),
        ("role: orders\nlis:\n  targets: [chemistri]\n", MLLP, "his.yaml:5:", "did you mean chemistry"),
        (
            "role: orders\nlis:\n  panels: {P: [TSH], Q: [P]}\n",
            MLLP,
            "his.yaml:5:",
            "'P' is a panel, and is not taken apart",
        ),
        ("role: orders\nlis:\n  cancel: all\n", MLLP, "his.yaml:5:", "order"),
        ("role: orders\nack: on_delivery\n", MLLP, "his.yaml:1:", "orders are answered once they are on the worklist"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, block: str, source: str, where: str, why: str) -> None:
    route = ROUTE.replace("orders-hl7", "astm-results, to: archive") if "role" not in block else ROUTE
    found = problem(tmp_path, block, source, route)

    assert where in found
    assert why in found


def test_it_is_refused_beside_a_fault_of_the_sites_own_file(tmp_path: Path) -> None:
    """Both are in one list, and a destination that could not be read is missed by no channel."""
    counter = "channel: counter\nsource: {kind: abdm-share, facilities: [F]}\nroutes: [{to: archive}]\n"
    files = channels("role: orders\nlis: {targets: [chemistri]}\n") | {"counter.yaml": counter}
    with pytest.raises(ConfigError) as caught:
        load_site(make_site(tmp_path, site=SITE_YAML + "nonsense: 1\n", channels=files))

    his, site = caught.value.problems
    assert "did you mean chemistry" in his
    assert "nonsense" in site


@pytest.mark.parametrize(
    ("lis", "where", "why"),
    [
        ("{codes: {'1': TSH, '2': FT4}}", "his.yaml:4:", "no analyzer here runs FT4: an order for it is rejected"),
        ("{panels: {THY: [TSH, FT4]}}", "his.yaml:4:", "no analyzer here runs FT4"),
        ("{codes: {'1': TSH}, panels: {THY: ['1', TSH]}}", "his.yaml:4:", "codes: has no TSH"),
        ("{codes: {'1': TSH}, panels: {THY: ['1']}}", "", ""),
    ],
)
def test_a_test_that_would_be_rejected_is_a_warning(tmp_path: Path, lis: str, where: str, why: str) -> None:
    site = load_site(make_site(tmp_path, channels=channels(f"role: orders\nlis: {lis}\n")))
    found = [one for one in site.warnings if "UNKNOWN_TEST" in one]
    assert len(found) == bool(why)
    assert all(where in one and why in one for one in found)


@pytest.mark.parametrize(
    ("orders", "why"),
    [
        ("{codes: {TSH: '1'}, group: his}", "'his' is a channel"),
        ("{codes: {TSH: ' 1'}}", "the code of TSH has a control character, or a blank"),
        ('{codes: {TSH: "1\\x02"}}', "the code of TSH has a control character, or a blank"),
    ],
)
def test_names_and_codes_that_lose_orders_are_refused(tmp_path: Path, orders: str, why: str) -> None:
    chemistry = ANALYZER.replace("{answer: query, codes: {TSH: '10'}, group: immunology}", orders)
    with pytest.raises(ConfigError) as caught:
        load_site(make_site(tmp_path, channels={**channels(), "chemistry.yaml": chemistry}))
    (found,) = caught.value.problems
    assert "chemistry.yaml:3:" in found
    assert why in found


def checked(folder: Path, block: str, route: str) -> str:
    ran = labrelay("check", site=make_site(folder, channels=channels(block, MLLP, route)))
    assert ran.code == ExitCode.CONFIG, ran.out
    return ran.out + ran.err


@pytest.mark.parametrize(
    ("block", "route", "why"),
    [
        ("", "routes: [{mapping: orders-hl7, to: archive}]\n", "mapping orders-hl7 reads orders, and this channel"),
        ("role: orders\n", "routes: [{mapping: orders-hl7, to: archive}]\n", "on the worklist, and nowhere else"),
        ("role: orders\n", "routes: [{mapping: hl7-results}]\n", "a route needs to:"),
        ("", "routes: [{mapping: hl7-results}]\n", "a route needs to:"),
    ],
)
def test_a_route_that_cannot_put_orders_anywhere_is_found(tmp_path: Path, block: str, route: str, why: str) -> None:
    found = checked(tmp_path, block, route)

    assert f"channels/his.yaml:{4 if block else 3}:" in found
    assert why in found


EMR = """channel: emr
role: orders
source: {kind: fhir-search, url: "http://127.0.0.1:9/fhir/", search: SEARCH, every: 10s}
routes: [{mapping: orders-fhir}]
"""
NEWS = """channel: news
source: {kind: order-status, of: OF, answers: ANSWERS, tasks: update}
routes:
  - {when: "=MSH-9.1 == 'ORR'", mapping: hl7-order-answers, to: DESTINATION}
"""
SERVERS = """site: {name: Test Lab, timezone: Asia/Kolkata}
destinations:
  there: {kind: fhir, url: "http://127.0.0.1:9/fhir"}
  elsewhere: {kind: fhir, url: "http://127.0.0.1:8/fhir"}
  archive: {kind: file, folder: var/out}
"""


@pytest.mark.parametrize(
    ("search", "of", "answers", "destination", "where", "why"),
    [
        ("Task", "emr", "true", "there", "", ""),
        ("Task", "emr", "false", "there", "news.yaml:2:", "tasks: update needs answers: true"),
        ("ServiceRequest", "emr", "true", "there", "news.yaml:2:", "'emr' searches no Tasks"),
        ("Task", "his", "true", "there", "news.yaml:2:", "'his' searches no Tasks"),
        ("Task", "emr", "true", "elsewhere", "news.yaml:4:", "elsewhere has another url"),
    ],
)
def test_the_tasks_of_a_system_are_changed_where_they_are(
    tmp_path: Path, search: str, of: str, answers: str, destination: str, where: str, why: str
) -> None:
    news = NEWS.replace("OF", of).replace("ANSWERS", answers).replace("DESTINATION", destination)
    files = {**channels(), "emr.yaml": EMR.replace("SEARCH", search), "news.yaml": news}
    site = make_site(tmp_path, site=SERVERS, channels=files)
    if not why:
        load_site(site)
        return
    with pytest.raises(ConfigError) as caught:
        load_site(site)
    (found,) = caught.value.problems
    assert where in found
    assert why in found
