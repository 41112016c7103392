"""A laboratory to look at in a browser: the daemon on a site where each kind of trouble is there, and its people."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from engine.features.access.service.service import AccessService
from engine.features.orders import rows as worklist
from engine.features.orders.exchange import taking
from engine.features.orders.exchange.taking import take_settings
from engine.features.orders.rows.reading import ItemFilter, count_items, count_without
from engine.model.journal.journal_views import Filter
from engine.model.orders import ItemState, OrderedPatient, OrderLine
from engine.model.site.actor import Actor
from engine.model.site.permissions import WATCHING
from engine.monitoring.snapshot.states import ChannelState
from engine.runtime.app import App
from engine.store.core.writing.operation import Priority, operation
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.messages import messages_page
from tests.support.abdm_rows import fill
from tests.support.asking import asking, question, result
from tests.support.astm_peer import one_record_a_frame, session
from tests.support.running import QUICK, eager_reader, make_running_site, running_app
from tests.support.senders import AstmAnalyzer, send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

SAMPLES = Path(__file__).parents[2] / "samples"
ROOT = Actor("root", role="root")
PASSWORD = "correct horse battery"
# Everyone of the laboratory: name, role, and whether patients are seen.
PEOPLE = (("vani", "viewer", False), ("asha", "operator", True), ("esther", "engineer", True), ("mohan", "admin", True))
MISTYPED, RIGHT = "MR-10O7", "MR-1007"  # a letter O in the place of a zero: no patient of the hospital's has it
# Control ids: of a result that the hospital refuses, of one that is held, of one that waits, of one that bears the
# number of another person, and of one that bears the order number of another patient.
REFUSED, CRITICAL, WAITING, OTHER_PERSON, TWO_PATIENTS = "4770", "4711", "ARC-77", "4763", "4764"
LOCAL_SYSTEM = {"settings": {"local_system": "https://lab.example/codes/local"}}
LONG_TEST = "Thyreoidea-stimulierendes-Hormon-ultrasensitiv"
TESTS = {"TSH": "10", "FT4": "40", "FERR": "Ferritin", LONG_TEST: "11"}
AWAY = "hospital-information-system-of-the-district-of-thiruvananthapuram"[:64]


filled_at_abdm = operation(priority=Priority.SETTLE)(fill)


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes().replace(b"\n", b"\r")


class Hospital:
    """An HTTP destination that refuses a patient number which it does not have; ``url``: once it has started."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.url = ""

    async def start(self, port: int = 0) -> str:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        _, port = self._runner.addresses[0]
        self.url = f"http://127.0.0.1:{port}/"
        return self.url

    async def go_down(self) -> int:
        """Its port, to start there again."""
        _, port = self._runner.addresses[0]
        await self.stop()
        return int(port)

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if MISTYPED.encode() in body:
            return web.Response(status=422, text="no such patient")
        self.taken.append(body)
        return web.Response(status=201)


@dataclass
class Laboratory:
    """A running site with its people; ``base`` is the address of its page."""

    app: App
    hospital: Hospital
    base: str

    def port(self, channel: str) -> int:
        port = self.app.parts.sources[channel].port
        assert port is not None
        return port

    async def send(self, channel: str, *messages: bytes) -> None:
        for message in messages:
            if channel == "chemistry":
                await AstmAnalyzer(self.port(channel)).play(session(*one_record_a_frame(message)))
            else:
                assert await send_blocks(self.port(channel), [message])
        await until(lambda: not any(one.stored for one in list_channels(self.app.journal)))

    def number(self, control_id: str) -> int:
        """The number that a message has here."""
        return next(one.id for one in messages_page(self.app.journal, Filter()) if one.control_id == control_id)

    def newest(self, channel: str) -> int:
        """The number of a channel's last message."""
        return messages_page(self.app.journal, Filter(channel=channel))[0].id

    async def wall_link(self) -> str:
        """The address that a screen on a wall opens once."""
        tokens = self.app.service(AccessService).accounts.tokens
        return f"/wall?token={await tokens.create('corridor', WATCHING, ends_us=0, by=ROOT)}"


@asynccontextmanager
async def laboratory(folder: Path) -> AsyncIterator[Laboratory]:
    """The site, once each kind of trouble shows."""
    sandbox, hospital = Sandbox(), Hospital()
    await sandbox.start()
    address = await hospital.start()
    try:
        _write_site(folder, sandbox.url, address)
        async with running_app(folder) as app:
            assert app.page is not None
            for name, role, sees_patients in PEOPLE:
                await app.service(AccessService).accounts.users.add(
                    name, role, PASSWORD, by=ROOT, sees_patients=sees_patients
                )
            here = Laboratory(app, hospital, f"http://127.0.0.1:{app.page.port}")
            await _trouble(here)
            with eager_reader():  # it starts with the first page
                yield here
    finally:
        await hospital.stop()
        await sandbox.stop()


def _write_site(folder: Path, fhir: str, hospital: str) -> None:
    over_mllp = {"source": {"kind": "mllp", "listen": "127.0.0.1:0"}}
    results = {"when": "=MSH-9.1 == 'ORU'", "mapping": "hl7-results"}
    hold = [{"when": "=flags in ['HH', 'LL']", "reason": "critical value"}]
    channels = {
        "haematology": {
            "description": "Cell counter",
            "analyzer": "mindray-bc5380",
            **deepcopy(over_mllp),
            **deepcopy(LOCAL_SYSTEM),
            "routes": [{**results, "to": "hospital", "hold": hold}],
        },
        "chemistry": {
            "analyzer": "siemens-dca-vantage",
            "source": {"kind": "astm", "listen": "127.0.0.1:0"},
            **deepcopy(LOCAL_SYSTEM),
            "routes": [{"mapping": "astm-results", "to": ["lab-fhir", "archive"]}],
        },
        "serology": {
            "analyzer": "abbott-architect",
            "usual_gap": "1s",
            **deepcopy(over_mllp),
            **deepcopy(LOCAL_SYSTEM),
            "routes": [{**results, "to": ["lab-fhir", AWAY]}],
        },
        "immunoassay": {
            "source": {"kind": "astm", "listen": "127.0.0.1:0"},
            **deepcopy(LOCAL_SYSTEM),
            "orders": {"answer": "query", "codes": TESTS},
            "routes": [{"mapping": "astm-results", "to": "lab-fhir"}],
        },
        "coagulation": {
            "description": "Not plugged in: " + "Gerinnungsmessplatz" * 4,
            "source": {"kind": "astm-serial", "device": "/dev/serial/by-id/none"},
            "routes": [{"mapping": "astm-results", "to": "lab-fhir"}],
        },
    }
    destinations = {
        "lab-fhir": {"kind": "fhir", "url": fhir, **deepcopy(QUICK)},
        "hospital": {"kind": "http", "url": hospital, **deepcopy(QUICK)},
        "archive": {"kind": "file", "folder": "var/archive"},
        AWAY: {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"},
    }
    make_running_site(folder, channels, destinations, web="127.0.0.1:0")


async def _orders(here: Laboratory) -> None:
    """W1 and W2 are measured and given, W3 is cancelled on its way, W4 and W5 are held, W6 waits, W7 is not taken; a
    tube is unknown, and W8 comes after its result, which has no order.
    """
    settings = take_settings(here.app.parts.built.site.channels)
    for specimen, patient, tests in (
        ("26030001", "MR-1007", ("TSH", "FT4")),
        ("26030002", "MR-1008", ("FERR",)),
        ("26030003", "MR-1009", ("TSH",)),
        ("26030003", "MR-1010", ("TSH",)),
        ("26030004", "MR-1011", (LONG_TEST,)),
        ("26030005", "MR-1011", ("none",)),
    ):
        known = OrderedPatient(number=patient, family="SHARMA", given="ANITA")
        lines = [OrderLine(specimen=specimen, patient=known, test=test, test_name=f"{test} i.S.") for test in tests]
        await here.app.journal.run(taking.add, ROOT, lines, settings)
    async with asking(here.port("immunoassay")) as analyzer:
        for specimen in ("26030001", "26030002", "none", "26030003"):
            await analyzer.ask(question(specimen))
    sent = ItemFilter(specimen="26030002", states=(ItemState.OFFERED,))
    await until(lambda: count_items(here.app.journal, sent, most=1)[0] == 1)
    await here.app.journal.run(worklist.cancel, 3, actor=ROOT, reason="measured elsewhere")
    async with asking(here.port("immunoassay")) as analyzer:
        known, unknown = (result(*one, "10", "1.20") for one in (("26030001", "MR-1007"), ("26030009", "MR-1012")))
        await analyzer.send(known, unknown)
    await until(lambda: count_without(here.app.journal, most=2) == 1)
    late = OrderLine(specimen="26030009", patient=OrderedPatient(number="MR-1012"), test="TSH")
    await here.app.journal.run(taking.add, ROOT, [late], settings)


async def _trouble(here: Laboratory) -> None:
    """Orders, a delivery, a refused and a held result, codes that no table has, a dead letter of service mode, a
    destination that is away, reagent lots, ABDM, and an analyzer that falls silent."""
    await _orders(here)
    coded = sample("mindray_bc5380/05-all-coded.hl7")
    await here.send("haematology", coded, sample("mindray_bc5380/01-blood-count.hl7"))
    other = coded.replace(b"ORD-95|2603020015", b"ORD-97|2603020017").replace(b"4760|P", REFUSED.encode() + b"|P")
    await here.send("haematology", other.replace(RIGHT.encode(), MISTYPED.encode()))
    await here.send("haematology", sample("mindray_bc5380/07-critical.hl7"))
    number_of_another = coded.replace(b"Joshi^Sunita||19910323000000|F", b"Kumar^Anil||19600203|M")
    number_of_another = number_of_another.replace(b"ORD-95|2603020015", b"ORD-98|2603020018")
    await here.send("haematology", number_of_another.replace(b"4760|P", OTHER_PERSON.encode() + b"|P"))
    order_of_another = coded.replace(b"MR-1007", b"MR-1020").replace(b"Joshi^Sunita||1991", b"Joshi^Sunil||1971")
    await here.send("haematology", order_of_another.replace(b"4760|P", TWO_PATIENTS.encode() + b"|P"))
    await here.send(
        "chemistry",
        sample("siemens_dca_vantage/01-albumin-creatinine.astm"),
        sample("siemens_dca_vantage/04-service.astm"),
    )
    await here.send("serology", sample("abbott_architect/01-serology.hl7"))
    await here.app.journal.run(filled_at_abdm)
    await until(lambda: any(lane.dead and lane.held for lane in list_lanes(here.app.journal)))
    await until(lambda: any(one.state is ChannelState.SILENT for one in here.app.observer.snapshot().channels))
