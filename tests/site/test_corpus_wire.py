"""Every file of the corpus, sent as an analyzer sends it to a running site: every message ends where it must.

What a message must yield stands in `tests/documents/test_corpus_mapping.py`; here it must yield the same through
sockets, links, journal, intake, outbox and HTTP. What differs on the wire is listed here, each with its reason.
"""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from adapters.codecs.astm.sender import frames_of
from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import stored_payload
from tests.documents.test_corpus_mapping import SETTINGS, TRAINING, outcome_of
from tests.support.corpus import CorpusFile, corpus_files, payloads
from tests.support.running import ASTM, MLLP, Json, RunningSite, channel, running_site
from tests.support.senders import ATTEMPTS, AstmAnalyzer, Played, blocks_of, send_blocks, send_raw, session
from tests.support.shipped import ROUTES
from tests.support.waiting import until

pytestmark = pytest.mark.corpus

FILES = corpus_files()
HL7 = [file.name for file in FILES if file.format == "hl7v2"]
ASTM_FILES = [file.name for file in FILES if file.format == "astm"]
facts_of = {file.name: file for file in FILES}

# -- what differs on the wire, and why -----------------------------------------------------------------------------

# The same bytes came before on this channel (`oe-` and `cepheid-` were taken from the same projects as `openelis__` and
# `oeplug__`). With a time of measurement their results are known. Without one they are delivered once more and flagged:
# control ids of this channel are used again for other content, and its times go back, so that neither says "repeat".
AGAIN = {
    ("oie__batch03.hl7", 2): ("ECHO", "its ORU is the one of oie__08"),
    ("oe-genexpert.hl7", 1): ("ECHO", "openelis__genexpert-result"),
    ("cepheid-genexpert-oru-r32.hl7", 1): ("delivered", "oeplug__ORU_R30, no OBR-7"),
    ("oe-sysmex-xn.hl7", 1): ("delivered", "openelis__sysmex-xn-result; its report has no time"),
    ("oe-abbott-architect.hl7", 1): ("delivered", "openelis__abbott-architect-result; its report has no time"),
}
CONFLICTS = {
    ("oe-mindray-cbc.hl7", 1): (
        "IDENTITY_CONFLICT",
        "order FILLER456 of openelis__bc5380 again, and PAT001 of another facility (MSH-4), whose HOSPITAL is "
        "another authority",
    ),
    ("openelis__bs200-chemistry-result.hl7", 1): ("held", "PAT003 of HOSPITAL was another person in openelis__abbott"),
    ("oe-mindray-bs200.hl7", 1): ("held", "the same message again"),
    ("cdcdex__GenV1_Batch_No_headers_twoMSH.txt", 2): ("held", "the number of message 1, whose person is another"),
    ("own__charset_8859-1.hl7", 1): ("held", "the number of own__batch_fhs_bhs, and another name"),
    ("own__charset_undeclared_cp1252.hl7", 1): ("held", "the number of own__batch_fhs_bhs, and another name"),
    ("own__escape_torture.hl7", 1): ("held", "the number of own__batch_fhs_bhs, and another name"),
}
# Results that an earlier message of the channel had, equal in all: they are left out, by file and message.
KNOWN = {
    ("oe-sysmex-xn.hl7", 1): 13,
    ("oe-abbott-architect.hl7", 1): 2,
    ("oie__large.hl7", 1): 15,  # its own, twice
    ("cdcdex__PHLIP_FLU_2.5.1_DUPLICATE_OBX1.txt", 1): 1,  # the same
    ("cdcdex__PHLIP_FLU_2.5.1_OBX2CWE_OBX5ST.txt", 1): 2,
    ("own__batch_fhs_bhs.hl7", 2): 1,
    ("own__charset_gb18030.hl7", 1): 1,
    ("own__charset_koi_8859-5.hl7", 1): 1,
    ("own__charset_utf8.hl7", 1): 1,
}

# Their bytes are no frames: a strict link never sees a message, so nothing can be journaled, nothing is acknowledged,
# and the sender knows. The text of a printer's port is kept as evidence where the channel reads text without frames.
NO_FRAMES = {
    "biomerieux-minividas-native.bin": "a field protocol of its own",
    "arkray-spotchem-el-native.bin": "text for a printer between STX and ETX, without number and checksum",
    "siemens-348-printout.txt": "text for a printer",
}
NO_HEADER = {"arkray-spotchem-el-native.bin"}  # not one letter H in it: text without frames begins at one

# The tool that captured them changed line ends inside frames, so no checksum is right: a strict link refuses the first
# frame as often as it comes, and the sender gives up. `checksum: warn` takes them.
ALTERED = {file.name for file in FILES if file.number("cs_bad")} - NO_FRAMES.keys()
# Frame numbers that do not follow each other: a tool joined frames and numbered them anew, or a number came twice with
# other content. A strict link refuses the frame that breaks the row; what came before it stays as evidence.
MISNUMBERED = {
    "horiba-yumizen-h500.astm": "frames of several kB, joined and numbered 1 by the capture tool",
    "sysmex-xn550-qc-wire.astm": "number 2 twice, with other content",
}
# The sender ends with EOT and no L record: evidence, and a message only where the channel says `end: eot`.
NO_TERMINATOR = {"abbott-m2000-below-limit.astm"}

# Bare records that may be sent as they stand, as text without frames, too: without settings of their own, and without
# lines of whoever wrote the file between the records.
RECORDS = {
    file.name
    for file in FILES
    if file.facts.get("framing") == "records" and file.name not in SETTINGS and not file.name.startswith("oe-")
}


# -- the site, and one run of the corpus through it ----------------------------------------------------------------


@dataclass
class Got:
    """What became of one journaled message.

    Attributes:
        end: ``delivered``, or the reason code.
        bundles: its documents.
    """

    id: int
    payload: bytes
    end: str
    bundles: list[Json]


@dataclass(repr=False)
class Sent:
    """One file, sent to one channel."""

    file: CorpusFile
    channel: str
    messages: list[bytes] = field(default_factory=list)  # as they went into blocks or sessions
    answers: list[bytes] = field(default_factory=list)  # MLLP
    played: list[Played] = field(default_factory=list)  # ASTM
    faults: dict[str, int] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)

    @property
    def ends(self) -> list[str]:
        return [got.end for got in self.got]


@dataclass(repr=False)
class Run:
    """Everything that one run of the corpus left behind."""

    sent: dict[tuple[str, str], Sent] = field(default_factory=dict)
    stored: dict[str, list[Json]] = field(default_factory=dict)  # resources on the server, by type
    versions: dict[str, int] = field(default_factory=dict)  # Observation id -> version
    statuses: dict[str, Any] = field(default_factory=dict)
    log: list[logging.LogRecord] = field(default_factory=list)
    findings: list[Any] = field(default_factory=list)  # of `labrelay verify --deep`
    repeats: int = 0

    def of(self, name: str, kind: str = "") -> Sent:
        """How a file went, on the channel made for it or on another kind of it."""
        return self.sent[name, kind or _home(facts_of[name])]

    def delivered(self) -> Iterator[tuple[Got, Json]]:
        for sent in self.sent.values():
            for got in sent.got:
                if got.end == "delivered":
                    yield from ((got, bundle) for bundle in got.bundles)


def _home(file: CorpusFile) -> str:
    """The channel for a file: one for each combination of settings that the mapping's test gives to some file."""
    settings = SETTINGS.get(file.name)
    return file.format if settings is None else f"{file.format}-{_VARIANTS.index(settings)}"


_VARIANTS = [settings for number, settings in enumerate(SETTINGS.values())
             if settings not in list(SETTINGS.values())[:number]]  # fmt: skip


def _channels() -> dict[str, Json]:
    def of(message_format: str, settings: dict[str, Any] | None = None, **source: str) -> Json:
        own = dict(settings or {})
        charset = {"charset": own.pop("charset")} if "charset" in own else {}
        routes = [{"when": when, "mapping": name, "to": "lab-fhir"} for when, name in ROUTES[message_format]]
        base = MLLP if message_format == "hl7v2" else ASTM
        return channel({**base, **source}, *routes, settings={"local_system": "urn:lab:codes", **own}, **charset)

    found = {"hl7v2": of("hl7v2"), "astm": of("astm")}
    for file in FILES:
        if file.name in SETTINGS:
            found[_home(file)] = of(file.format, SETTINGS[file.name])
    found["tolerant"] = of("astm", checksum="warn", frame_numbers="warn")
    found["eot"] = of("astm", end="eot")
    found["text"] = of("astm", framing="none")
    return found


class Player:
    """Sends files to a running site and notes what became of them."""

    def __init__(self, site: RunningSite) -> None:
        self._site = site
        self.run = Run()

    async def play(self, file: CorpusFile, kind: str = "") -> None:
        name = kind or _home(file)
        sent = Sent(file, name)
        source = self._site.app.parts.sources[name].channel
        source.counts.faults.clear()
        before = len(self._site.messages(name))
        if file.format == "hl7v2":
            await self._hl7(sent)
        else:
            await self._astm(sent)
        # The other side hangs up when it has done all it has to: then everything is stored.
        await until(lambda: not source.connections)
        await self._site.settled()
        sent.faults = dict(source.counts.faults)
        for view in self._site.messages(name)[before:]:
            end = self._site.end_of(view.id)
            sent.got.append(Got(view.id, stored_payload(self._site.journal, view.id), end, self._site.bundles(view.id)))
        self.run.sent[file.name, name] = sent

    async def _hl7(self, sent: Sent) -> None:
        data, port = sent.file.path.read_bytes(), self._site.port(sent.channel)
        sent.messages = payloads(sent.file)
        if sent.file.path.suffix == ".mllp":
            sent.answers = blocks_of(await send_raw(port, data))
        else:
            blocks = [data] if _is_batch(data) else sent.messages
            sent.answers = await send_blocks(port, blocks)

    async def _astm(self, sent: Sent) -> None:
        file, port = sent.file, self._site.port(sent.channel)
        data = file.path.read_bytes()
        if file.name in NO_FRAMES or sent.channel == "text":
            sent.messages = [data]
            sent.played = [Played(answers=await send_raw(port, data))]
            return
        sent.messages = _texts(file)
        chunks = file.path.with_name(file.name + ".chunks.json")
        analyzer = AstmAnalyzer(
            port, [len(chunk) for chunk in json.loads(chunks.read_text())] if chunks.exists() else ()
        )
        for number, wire in enumerate(_wires(file, data)):
            # Nobody waits six times for the same answer here but the first of each kind.
            sent.played.append(await analyzer.play(wire, patience=ATTEMPTS if number == 0 else 2))


def _wires(file: CorpusFile, data: bytes) -> list[bytes]:
    """What goes over the line: a capture as it stands, records in frames, each message in a session of its own."""
    if file.facts["framing"] != "records":
        return [session(data)]
    pack: Literal["record", "packed"] = "record" if len(file.name) % 2 else "packed"  # either way now and then
    return [session(b"".join(frames_of(text, 240, pack))) for text in _texts(file)]


def _texts(file: CorpusFile) -> list[bytes]:
    """The messages of an ASTM file without the comments of whoever wrote the file; line ends as on the wire."""
    found = []
    for text in payloads(file):
        records = [record for record in re.split(rb"[\r\n]+", text) if record.strip() and record[:1] != b"#"]
        found.append(b"".join(record + b"\r" for record in records))
    return [text for text in found if text]


def _is_batch(data: bytes) -> bool:
    return data.lstrip(b"\xef\xbb\xbf \r\n")[:3] in {b"FHS", b"BHS"}


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def _play_everything(folder: Path) -> Run:
    async with running_site(folder, _channels()) as site:
        player = Player(site)
        for file in FILES:
            await player.play(file)
            if file.name in TRAINING:
                await player.play(file, file.format)
            if file.name in ALTERED | MISNUMBERED.keys():
                await player.play(file, "tolerant")
            if file.name in NO_TERMINATOR:
                await player.play(file, "eot")
            if file.name in NO_FRAMES or file.name in RECORDS:
                await player.play(file, "text")
        run = player.run
        for kind in ("Patient", "Observation", "DiagnosticReport", "Specimen", "Provenance"):
            run.stored[kind] = site.sandbox.resources(kind)
        run.repeats = sum(count - 1 for count in site.sandbox.deliveries().values())
    run.findings = verify(folder / "var", deep=True)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole corpus, sent once."""
    listener = _Listener()
    root = logging.getLogger()
    before = root.level
    root.addHandler(listener)
    root.setLevel(logging.INFO)
    try:
        run = asyncio.run(_play_everything(tmp_path_factory.mktemp("corpus")))
    finally:
        root.removeHandler(listener)
        root.setLevel(before)
    run.log = listener.records
    return run


def _expected(name: str) -> list[str]:
    """What the mapping's test says of each message of a file, in this module's words."""
    found = []
    for number, reason in enumerate(outcome_of(name).reasons, 1):
        reason, _why = AGAIN.get((name, number)) or CONFLICTS.get((name, number)) or (reason, "")
        found.append("delivered" if reason == "mapped" else reason)
    return found


# -- HL7 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HL7)
def test_each_hl7_message_is_journaled_as_sent_and_ends_where_it_must(run: Run, name: str) -> None:
    sent = run.of(name)
    assert [got.payload for got in sent.got] == sent.messages
    assert len(sent.got) == (facts_of[name].number("msh") or facts_of[name].number("messages") or 1)
    assert sent.ends == _expected(name)
    assert sent.faults == {}


@pytest.mark.parametrize("name", HL7)
def test_each_hl7_message_is_answered_as_its_header_asks(run: Run, name: str) -> None:
    sent = run.of(name)
    expected = [answer for message in sent.messages for answer in _answers_to(message)]
    assert [found for answer in sent.answers for found in _acknowledged(answer)] == expected
    batch = _is_batch(sent.file.path.read_bytes())
    assert {_is_batch(answer) for answer in sent.answers} <= {batch}, "a batch is answered by a batch, a message by one"


def _answers_to(message: bytes) -> list[tuple[str, str]]:
    """(MSA-1, MSA-2) of each answer that a sender may expect, by a plain look at its MSH; HL7 v2.5 2.9, table 0155."""
    line = re.split(rb"[\r\n]", message.lstrip(b"\xef\xbb\xbf \r\n"))[0].decode("latin-1")
    separator, rest = line[3:4], line[4:]
    fields = ["MSH", separator, *rest.split(separator)] + [""] * 20
    delimiters = separator + fields[2]
    if len(set(delimiters)) != len(delimiters) or any(one.isalnum() or not "!" <= one <= "~" for one in delimiters):
        return [("AR", "")]
    if fields[9].startswith("ACK"):
        return []
    known = {"AL", "NE", "ER", "SU"}
    accept, application = (fields[number] if fields[number] in known else "" for number in (15, 16))
    if not fields[10]:
        wanted = {"AL", "ER"}
        code = (
            "AR"
            if not accept and not application
            else "CR"
            if accept in wanted
            else "AR"
            if application in wanted
            else ""
        )
        return [(code, "")] if code else []
    if not accept and not application:
        return [("AA", fields[10])]
    codes = ["CA"] if accept in {"AL", "SU"} else []
    codes += ["AA"] if application in {"AL", "SU"} else []
    return [(code, fields[10]) for code in codes]


def _acknowledged(answer: bytes) -> list[tuple[str, str]]:
    """(MSA-1, MSA-2) of each MSA in an answer."""
    text = answer.decode("latin-1")
    separator = text[3]
    found = [line.split(separator) for line in text.split("\r") if line.startswith("MSA" + separator)]
    return [(line[1], line[2] if len(line) > 2 else "") for line in found]


@pytest.mark.parametrize("name", sorted(TRAINING))
def test_training_messages_are_dead_on_a_channel_that_does_not_take_them(run: Run, name: str) -> None:
    file = facts_of[name]
    sent = run.of(name, file.format)
    ends = set(sent.ends)
    assert "NOT_PRODUCTION" in ends
    again = {"ECHO"} if name == "cdcdex__phlip-flu-batch.txt" else set()  # as ..._OBX2CWE_OBX5ST in KNOWN
    assert ends <= {"NOT_PRODUCTION", "delivered"} | again
    assert [got.payload for got in sent.got] == sent.messages


# -- ASTM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ASTM_FILES if name not in NO_FRAMES])
def test_each_astm_message_is_journaled_as_sent_and_ends_where_it_must(run: Run, name: str) -> None:
    kind = "tolerant" if name in ALTERED | MISNUMBERED.keys() else "eot" if name in NO_TERMINATOR else ""
    sent = run.of(name, kind)
    assert [_records(got.payload) for got in sent.got] == [_records(text) for text in sent.messages]
    assert sent.ends == _expected(name)
    assert not any(played.gave_up or played.refused for played in sent.played)
    assert {fault for fault in sent.faults if "tolerated" not in fault} == set()
    if facts_of[name].number("frames"):
        assert sum(played.acknowledged for played in sent.played) == facts_of[name].number("frames")


def _records(text: bytes) -> list[bytes]:
    return [record for record in re.split(rb"[\r\n]+", text) if record]


@pytest.mark.parametrize("name", sorted(ALTERED))
def test_frames_with_wrong_checksums_are_never_acknowledged(run: Run, name: str) -> None:
    sent = run.of(name)
    (played,) = sent.played
    assert (played.acknowledged, played.refused, played.gave_up) == (0, ATTEMPTS, True)
    assert sum(sent.faults.values()) == ATTEMPTS
    assert sent.got == []


@pytest.mark.parametrize("name", sorted(MISNUMBERED))
def test_a_message_with_a_frame_out_of_order_is_evidence_and_no_result(run: Run, name: str) -> None:
    sent = run.of(name)
    (played,) = sent.played
    assert played.gave_up
    assert sent.faults == {"frame-number": ATTEMPTS}
    assert sent.ends == ["INCOMPLETE"]
    (whole,) = payloads(sent.file)
    assert whole.startswith(sent.got[0].payload.rstrip(b"\r\n")[:200])
    assert sent.got[0].bundles == []


@pytest.mark.parametrize("name", sorted(NO_TERMINATOR))
def test_a_message_without_its_end_is_evidence_and_no_result(run: Run, name: str) -> None:
    sent = run.of(name)
    assert sent.ends == ["INCOMPLETE"]
    assert [_records(got.payload) for got in sent.got] == [_records(text) for text in sent.messages]
    assert sent.got[0].bundles == []


@pytest.mark.parametrize("name", sorted(NO_FRAMES))
def test_what_is_no_astm_is_never_acknowledged_and_never_a_result(run: Run, name: str) -> None:
    strict, text = run.of(name), run.of(name, "text")
    assert strict.played[0].answers == b""
    assert strict.got == []
    assert text.ends == ([] if name in NO_HEADER else ["INCOMPLETE"])
    for got in text.got:
        assert got.bundles == []
        assert set(_records(got.payload)[1:]) <= set(_records(text.messages[0]))


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_records_without_frames_end_as_those_in_frames(run: Run, name: str) -> None:
    sent = run.of(name, "text")
    assert sent.ends == (["INCOMPLETE"] if name in NO_TERMINATOR else _expected(name))


# -- what is on the server -----------------------------------------------------------------------------------------


def _resources(bundle: Json, kind: str) -> list[Json]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


@pytest.mark.parametrize("name", [*HL7, *ASTM_FILES])
def test_each_document_holds_what_the_mapping_made(run: Run, name: str) -> None:
    """Same resources of each type, message by message, as the mapping's own test looks at; without known results."""
    kind = "tolerant" if name in ALTERED | MISNUMBERED.keys() else "eot" if name in NO_TERMINATOR else ""
    sent = run.of(name, kind)
    for number, (got, verdict) in enumerate(zip(sent.got, outcome_of(name).verdicts, strict=False), 1):
        if got.end in {"delivered", "held"}:
            made = [_kinds(json.loads(document.body)) for document, _ in verdict.documents]
            if (name, number) in KNOWN:
                made[0]["Observation"] -= KNOWN[name, number]
                made[0] = {kind: count for kind, count in made[0].items() if count}
            assert [_kinds(bundle) for bundle in got.bundles] == made
        else:
            assert got.bundles == []


def _kinds(bundle: Json) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for entry in bundle["entry"]:
        kind = entry["resource"]["resourceType"]
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


@pytest.mark.parametrize("kind", ["Observation", "DiagnosticReport", "Specimen"])
def test_every_result_is_on_the_server_and_nothing_else(run: Run, kind: str) -> None:
    wanted = {resource["id"] for _, bundle in run.delivered() for resource in _resources(bundle, kind)}
    assert {resource["id"] for resource in run.stored[kind]} == wanted
    assert len(wanted) > 50


def test_each_result_on_the_server_is_the_newest_that_was_sent(run: Run) -> None:
    newest: dict[str, Json] = {}
    for _, bundle in sorted(run.delivered(), key=lambda pair: pair[0].id):
        newest |= {resource["id"]: resource for resource in _resources(bundle, "Observation")}
    for stored in run.stored["Observation"]:
        sent = newest[stored["id"]]
        same = [name for name in sent if name in {"status", "code", "effectiveDateTime"} or name.startswith("value")]
        assert {name: stored[name] for name in same} == {name: sent[name] for name in same}
        assert {name for name in stored if name.startswith("value")} == {n for n in sent if n.startswith("value")}


def test_no_result_was_replaced_by_that_of_another_patient(run: Run) -> None:
    owners: dict[str, set[str]] = {}
    writers: dict[str, int] = {}
    for _, bundle in run.delivered():
        patients = {entry["fullUrl"]: _owner(entry["resource"]) for entry in bundle["entry"]}
        for resource in _resources(bundle, "Observation"):
            subject = resource.get("subject", {}).get("reference", "")
            owners.setdefault(resource["id"], set()).add(patients[subject] if subject else "nobody")
            writers[resource["id"]] = writers.get(resource["id"], 0) + 1
    assert {identity: whose for identity, whose in owners.items() if len(whose) > 1} == {}
    for stored in run.stored["Observation"]:
        assert int(stored["meta"]["versionId"]) == writers[stored["id"]]


def _owner(patient: Json) -> str:
    """The numbers of a Patient, else the name: authors of examples gave one number to people of several names."""
    return json.dumps(patient.get("identifier") or patient.get("name"))


def test_each_delivered_message_leaves_its_provenance_and_was_sent_once(run: Run) -> None:
    wanted = [resource["id"] for _, bundle in run.delivered() for resource in _resources(bundle, "Provenance")]
    assert len(wanted) == len({got.id for got, _ in run.delivered()})
    assert {resource["id"] for resource in run.stored["Provenance"]} == set(wanted)
    assert run.repeats == 0


# -- nothing on the way --------------------------------------------------------------------------------------------


def test_the_journal_numbers_every_message_and_is_whole(run: Run) -> None:
    assert run.findings == []
    ids = sorted(got.id for sent in run.sent.values() for got in sent.got)
    assert len(ids) == len(set(ids))


def test_nothing_is_logged_that_an_operator_need_not_see(run: Run) -> None:
    assert [record.getMessage() for record in run.log if record.exc_info or record.levelno >= logging.ERROR] == []
    warnings = [record for record in run.log if record.levelno == logging.WARNING]
    unread = [record for record in warnings if record.getMessage().startswith("incoming bytes cannot be read")]
    # A capture whose every frame has a wrong sum; and a new journal was given its key.
    assert {getattr(record, "fault", "") for record in unread} <= {"bad-checksum"}
    rest = [record.getMessage() for record in warnings if record not in unread]
    assert [text for text in rest if "new key" not in text] == []


def test_no_patient_is_named_in_the_log(run: Run) -> None:
    words = {word for sent in run.sent.values() for message in sent.messages for word in _names(message)}
    assert len(words) > 30
    text = "\n".join(f"{record.getMessage()} {sorted(map(str, vars(record).values()))}" for record in run.log)
    assert {word for word in words if re.search(rf"\b{re.escape(word)}\b", text)} == set()


def _names(message: bytes) -> Iterator[str]:
    """Parts of patients' names that cannot be taken for anything else."""
    for line in re.split(r"[\r\n]+", message.decode("latin-1")):
        fields = line.split("|")
        name = fields[5:6] if fields[0] in {"PID", "P"} else []
        yield from (part for part in re.split(r"[\^~&]", "".join(name)) if len(part) > 4 and part.isalpha())
