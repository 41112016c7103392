"""What is guessed of an analyzer: right for the corpus, and never sure of what is wrong."""

import random
from functools import cache

import pytest

from engine.diagnostics.lines.guess import Confidence, Guess, guess
from engine.diagnostics.packs import Pack, packs
from engine.mapping.trying.capture import CapturedBytes, Direction, line_of, read
from engine.mapping.trying.inputs import messages_in
from tests.support.astm_peer import ENQ, EOT, one_record_a_frame, session, wire_frames
from tests.support.corpus import CorpusFile, corpus_files, own_and_captured
from tests.support.samples import SampleFile, sample_files
from tests.support.uart import at_speed, with_parity

File = CorpusFile | SampleFile
RECORDS = b"H|\\^&|||Some One^1\rP|1\rO|1|S1\rR|1|^^^WBC|5.1\rL|1|N\r"
SESSION = session(*one_record_a_frame(RECORDS))
ORU = b"MSH|^~\\&|LAB||||20260301||ORU^R01|17|P|2.5\rPID|1||4711||Doe^Jane\r"

# What a corpus file is, where it is not what its folder says: (link, format).
OTHERWISE = {
    "arkray-spotchem-el-native.bin": ("text", "text"),
    "biomerieux-minividas-native.bin": ("text", "text"),
    "siemens-348-printout.txt": ("text", "text"),
}
# Files whose letters are in another set than UTF-8 or ASCII; their index says so.
CHARSETS = {
    "cepheid-genexpert-french-latin1.astm": "cp1252",
    "own__charset_8859-1.hl7": "latin-1",
    "own__charset_gb18030.hl7": "gb18030",
    "own__charset_koi_8859-5.hl7": "iso8859-5",
    "own__charset_undeclared_cp1252.hl7": "cp1252",
    "nhapi__bad_HL7Exception_id_000087": "cp1252",
    "nhapi__bad_NoException_id_000168": "cp1252",
}
FILES: list[File] = [*sample_files("hl7v2", "astm", "text"), *corpus_files()]


@cache
def known() -> list[Pack]:
    return packs()


def of(data: bytes, *, live: bool = False) -> Guess:
    return guess([CapturedBytes(data)], known(), live=live)


def pack_of(file: File) -> str:
    """The pack that names the file as its evidence; of a sample the pack of its folder."""
    if isinstance(file, SampleFile):
        return file.folder if any(pack.name == file.folder for pack in known()) else ""
    place = f"{file.folder}/{file.name}"
    return next((pack.name for pack in known() if any(seen.file == place for seen in pack.config.seen)), "")


def name_of(made: Guess) -> str:
    return made.pack.name if made.pack is not None else ""


def wanted(file: File) -> tuple[str, str]:
    if file.format == "text":
        return ("text", "text")
    return OTHERWISE.get(file.name) or (("e1381", "astm") if file.format == "astm" else ("mllp", "hl7v2"))


@pytest.mark.parametrize("file", own_and_captured(), ids=lambda file: file.name)
def test_files_are_known_for_what_they_are(file: File) -> None:
    made = of(file.path.read_bytes())

    assert (made.link.value, made.format.value) == wanted(file)
    assert made.charset.value == CHARSETS.get(file.name, "utf-8")


def test_analyzers_with_a_pack_are_recognised_and_no_other_is() -> None:
    with_pack = [file for file in FILES if pack_of(file)]
    right = [file for file in with_pack if name_of(of(file.path.read_bytes())) == pack_of(file)]
    wrong = [file.name for file in FILES if name_of(of(file.path.read_bytes())) not in ("", pack_of(file))]

    assert with_pack
    assert len(right) >= 0.9 * len(with_pack)
    assert wrong == []


@pytest.mark.parametrize("parity", ["even", "odd"])
def test_a_7_bit_line_is_known_and_read_all_the_same(parity: str) -> None:
    """Of files in ASCII: 7 bits carry nothing else."""
    for file in FILES:
        data = file.path.read_bytes()
        if file.folder == "hl7" or not data.isascii():
            continue
        made = of(with_parity(data[:6000], parity))

        assert made.options.get("parity") == parity, file.name
        assert (made.link.value, made.format.value) == wanted(file), file.name
        assert name_of(made) == pack_of(file), file.name


@pytest.mark.corpus
def test_chunks_do_not_matter() -> None:
    for file in FILES:
        if file.path.with_name(file.path.name + ".chunks.json").is_file():
            data = file.path.read_bytes()
            pieces = [CapturedBytes(data[at : at + 3], Direction.THEM, 1 + at) for at in range(0, len(data), 3)]

            assert guess(pieces, known()).parts == of(data).parts


def spoilt(data: bytes, dice: random.Random) -> bytes:
    """With a few bytes of it changed, lost or added, as a bad line does."""
    made = bytearray(data)
    for _ in range(max(2, len(made) // 50)):
        at = dice.randrange(len(made))
        made[at : at + 1] = (bytes([dice.randrange(256)]), b"", dice.randbytes(2))[dice.randrange(3)]
    return bytes(made)


def test_what_a_bad_line_spoils_is_never_sure_and_wrong() -> None:
    dice = random.Random(7)
    for file in FILES:
        data = file.path.read_bytes()
        if file.folder == "hl7" or len(data) > 8000:
            continue
        for _ in range(6):
            made = of(spoilt(data, dice))
            link, form = wanted(file)
            for part, right in ((made.link, link), (made.format, form), (made.analyzer, pack_of(file))):
                assert part.sure is not Confidence.SURE or part.value == right, (file.name, part)


def test_noise_is_never_more_than_open() -> None:
    dice = random.Random(11)
    for _ in range(400):
        made = of(dice.randbytes(dice.randint(1, 400)))

        assert all(part.sure is not Confidence.SURE for part in made.parts)
        assert made.pack is None


@pytest.mark.parametrize("ratio", [0.5, 2, 4])
def test_another_speed_leaves_everything_open(ratio: float) -> None:
    made = of(at_speed(SESSION, ratio))

    assert not made.is_enough
    assert "slower" in made.line.why if made.line and ratio > 1 else made.line is not None


def test_a_session_is_sure() -> None:
    made = of(SESSION)

    assert [(part.name, part.value, part.sure) for part in made.parts[:3]] == [
        ("link", "e1381", Confidence.SURE),
        ("framing", "e1381", Confidence.SURE),
        ("format", "astm", Confidence.SURE),
    ]
    assert made.analyzer.sure is Confidence.OPEN


def test_enq_alone_is_likely_astm_and_not_enough_for_a_channel() -> None:
    made = of(ENQ + EOT + ENQ, live=True)

    assert (made.link.value, made.link.sure) == ("e1381", Confidence.LIKELY)
    assert made.format.sure is Confidence.OPEN
    assert not made.is_enough


def test_on_a_line_what_is_missing_was_never_sent() -> None:
    frames = b"".join(one_record_a_frame(RECORDS))

    assert of(frames, live=True).options == {"framing": "enq-less"}
    assert of(RECORDS, live=True).options == {"framing": "none"}
    assert of(ORU, live=True).options == {"start_without_vt": "true", "end_by_idle": "2s"}
    assert of(frames).options == of(RECORDS).options == of(ORU).options == {}


def test_sums_by_another_rule_are_an_option() -> None:
    frames = [frame[:-4] + b"%02X\r\n" % ((int(frame[-4:-2], 16) + 2) % 256) for frame in one_record_a_frame(RECORDS)]

    assert of(session(*frames)).options["checksum"] == "ignore"


def test_numbers_from_zero_are_an_option() -> None:
    frames = wire_frames([(record + b"\r", "ETX") for record in RECORDS.split(b"\r") if record], first=0)

    assert of(session(*frames)).options == {"frame_numbers": "ignore"}


def test_records_without_cr_are_an_option() -> None:
    frames = wire_frames([(record, "ETX") for record in RECORDS.split(b"\r") if record])
    found = of(session(*frames))

    assert found.options == {"record_end": "etx"}
    assert found.seen.astm.types == of(session(*one_record_a_frame(RECORDS))).seen.astm.types


def test_records_whose_cr_a_tool_lost_are_no_option() -> None:
    assert "record_end" not in of(session(*one_record_a_frame(RECORDS)).replace(b"\r", b"")).options


def test_two_packs_that_both_fit_leave_the_analyzer_open() -> None:
    (one,) = (pack for pack in known() if pack.name == "sysmex-xn")
    other = Pack(one.config.model_copy(update={"analyzer": "sysmex-xn-of-ours"}), one.folder, one.node)
    made = guess([CapturedBytes(SESSION.replace(b"Some One^1", b"XN-350^11"))], [one, other])

    assert made.pack is None
    assert "sysmex-xn-of-ours" in made.analyzer.why


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), "TLS"),
        (b"POST /fhir HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"\xff\xfb\x00\xff\xfb\x03\xff\xfd\x2c", "rfc2217://"),
    ],
)
def test_what_is_no_analyzer_is_said(data: bytes, says: str) -> None:
    made = of(data, live=True)

    assert not made.is_enough
    assert says in made.link.why


def test_a_capture_with_times_is_read_back() -> None:
    pieces = [
        CapturedBytes(b"\x05", Direction.THEM, 1_700_000_000_000_000),
        CapturedBytes(b"\x06", Direction.US, 1_700_000_000_000_500),
    ]

    assert read(b"".join(map(line_of, pieces))) == pieces


def test_a_capture_with_times_is_a_file_of_messages_like_any_other() -> None:
    pieces = [
        CapturedBytes(SESSION[:40], Direction.THEM, 1),
        CapturedBytes(b"\x06", Direction.US, 2),
        CapturedBytes(SESSION[40:], Direction.THEM, 3),
    ]

    (message,) = messages_in(b"".join(map(line_of, pieces)))

    assert message.payload == RECORDS
