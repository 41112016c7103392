"""HL7 messages to a receiver: an answer counts for the message that it names, and for no other."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.destinations import mllp_out
from adapters.destinations.mllp_out import MAX_NEGATIVE_ACKS, MllpOut
from engine.model.errors import DeliveryError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.message import Delivery, LateRefusal
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.certificates import Authority
from tests.support.deliveries import Tls, delivery
from tests.support.mllp_peer import CLOSE, PAUSE, SILENCE, Answer, MllpPeer, ack, mllp_peer
from tests.support.waiting import until


@dataclass(frozen=True)
class Address:
    host: str
    port: int


@dataclass
class Config:
    connect: Address
    tls: Tls | None = None
    timeout: float = 5.0
    ack: str = "commit"


def message(control_id: str = "1", text: str = "7") -> Delivery:
    body = f"MSH|^~\\&|LAB|LAB|LIS|HOSP|20260301||ORU^R01|{control_id}|P|2.5\rPID|1||{text}\r".encode()
    return delivery(body, media_type="x-application/hl7-v2+er7")


def to(peer: MllpPeer, timeout: float = 60.0, tls: Tls | None = None, ack: str = "commit") -> MllpOut:
    return mllp_out.build("lis", Config(Address("127.0.0.1", peer.port), tls, timeout, ack), ManualClock())


async def failure(out: MllpOut, sent: Delivery) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await out.deliver(sent)
    assert "PID" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("code", ["AA", "CA"])
async def test_a_matching_acknowledgement_is_delivered_on_one_connection(code: str) -> None:
    async with mllp_peer(ack(code)) as peer:
        out = to(peer)
        await out.start()
        for number in range(3):
            await out.deliver(message(str(number)))
        await out.close()
        await until(lambda: peer.closed == 1)
    assert peer.messages == [message(str(number)).body for number in range(3)]
    assert peer.connections == 1


@pytest.mark.parametrize(
    ("answer", "kind", "reason", "limit"),
    [
        (ack("AE"), TransientDeliveryError, ReasonCode.NEGATIVE_ACK, MAX_NEGATIVE_ACKS),
        (ack("CE"), TransientDeliveryError, ReasonCode.NEGATIVE_ACK, MAX_NEGATIVE_ACKS),
        (ack("AR"), RefusedDeliveryError, ReasonCode.REFUSED, None),
        (ack("CR"), RefusedDeliveryError, ReasonCode.REFUSED, None),
        (ack("AA", "2"), TransientDeliveryError, ReasonCode.WRONG_ACK, None),
        (ack("AA", ""), TransientDeliveryError, ReasonCode.WRONG_ACK, None),
        (ack("AR", "2"), TransientDeliveryError, ReasonCode.WRONG_ACK, None),
        (ack("OK"), TransientDeliveryError, ReasonCode.WRONG_ACK, None),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TransientDeliveryError, ReasonCode.WRONG_ACK, None),
        (b"\x0bgarbage\x1c\r", TransientDeliveryError, ReasonCode.WRONG_ACK, None),
        (b"\x06", TransientDeliveryError, ReasonCode.WRONG_ACK, None),
        (b"\x0b\x1c\r", TransientDeliveryError, ReasonCode.WRONG_ACK, None),
        (CLOSE, TransientDeliveryError, ReasonCode.NO_ANSWER, None),
        ((ack()[:30], CLOSE), TransientDeliveryError, ReasonCode.NO_ANSWER, None),
    ],
)
async def test_everything_else_has_its_meaning(
    answer: Answer, kind: type[DeliveryError], reason: ReasonCode, limit: int | None
) -> None:
    async with mllp_peer(answer, ack()) as peer:
        out = to(peer)
        error = await failure(out, message("1"))
        assert type(error) is kind
        assert error.reason is reason
        assert getattr(error, "limit", None) == limit
        await out.deliver(message("7"))  # and the next message is not harmed
        await out.close()
    kept = error.reason in (ReasonCode.NEGATIVE_ACK, ReasonCode.REFUSED)
    assert peer.connections == (1 if kept else 2)


async def test_a_refusal_keeps_the_receivers_words() -> None:
    words = ack("AR", "{id}", "ERR||PID^1^3|204^Unknown key^HL70357|E||||no such patient")
    async with mllp_peer(words) as peer:
        out = to(peer)
        error = await failure(out, message())
        await out.close()
    assert b"no such patient" in error.answer
    assert "patient" not in str(error)


async def test_a_late_answer_is_never_credited_to_the_next_message() -> None:
    async with mllp_peer((PAUSE, ack()), ack("AR")) as peer:
        out = to(peer, timeout=0.1)
        error = await failure(out, message("1"))
        assert (type(error), error.reason) == (TransientDeliveryError, ReasonCode.NO_ANSWER)
        peer.go_on.set()  # AA for 1 is written now, to a connection that is gone
        await until(lambda: peer.closed == 1)
        out._config.timeout = 60.0
        error = await failure(out, message("2"))
        assert error.reason is ReasonCode.REFUSED
        await out.close()
    assert peer.connections == 2


async def test_a_second_answer_to_the_message_before_is_not_credited() -> None:
    async with mllp_peer((ack(), PAUSE, ack()), SILENCE) as peer:
        out = to(peer)
        await out.deliver(message("1"))
        peer.go_on.set()
        error = await failure(out, message("2"))
        assert error.reason is ReasonCode.WRONG_ACK
        await out.close()


async def test_a_second_answer_is_not_credited_to_a_message_with_the_same_control_id() -> None:
    async with mllp_peer((ack(), PAUSE, ack()), ack("AR")) as peer:
        out = to(peer)
        await out.deliver(message("1", "first"))
        peer.go_on.set()
        error = await failure(out, message("1", "second"))  # the counter started again: another message
        assert error.reason is ReasonCode.REFUSED
        await out.close()
    assert peer.connections == 2


async def test_crossed_answers_are_not_credited() -> None:
    async with mllp_peer(ack("AA", "2"), ack("AA", "1")) as peer:
        out = to(peer)
        for control_id in ("1", "2"):
            assert (await failure(out, message(control_id))).reason is ReasonCode.WRONG_ACK
        await out.close()


async def test_a_commit_and_then_an_application_acknowledgement() -> None:
    async with mllp_peer((ack("CA"), PAUSE, ack("AA")), ack("CA") + ack("AA"), ack("AR")) as peer:
        out = to(peer)
        await out.deliver(message("1"))
        peer.go_on.set()
        await out.deliver(message("2"))
        assert (await failure(out, message("3"))).reason is ReasonCode.REFUSED
        await out.close()
    assert peer.connections == 1


async def test_an_answer_in_pieces_is_read_to_its_end() -> None:
    pieces = tuple(ack()[at : at + 7] for at in range(0, len(ack()), 7))
    whole = (*pieces[:3], PAUSE, *pieces[3:])
    async with mllp_peer(whole) as peer:
        out = to(peer)
        sending = asyncio.create_task(out.deliver(message("{id}")))
        await until(lambda: len(peer.messages) == 1)
        assert not sending.done()
        peer.go_on.set()
        await sending
        await out.close()


async def test_an_answer_without_its_last_cr() -> None:
    async with mllp_peer((ack()[:-1], SILENCE)) as peer:
        out = to(peer)
        await out.deliver(message())
        await out.close()


async def test_half_an_answer_is_no_answer() -> None:
    async with mllp_peer((ack()[:30], SILENCE)) as peer:
        out = to(peer, timeout=0.1)
        assert (await failure(out, message())).reason is ReasonCode.NO_ANSWER
        await until(lambda: peer.closed == 1)
        await out.close()


async def test_an_endless_answer_takes_bounded_memory() -> None:
    async with mllp_peer((b"\x0b", b"x" * (mllp_out.MAX_ANSWER_BYTES + 100), SILENCE)) as peer:
        out = to(peer)
        assert (await failure(out, message())).reason is ReasonCode.WRONG_ACK
        await out.close()


async def test_one_message_is_in_flight_at_a_time() -> None:
    async with mllp_peer((PAUSE, ack()), ack()) as peer:
        out = to(peer)
        first, second = (asyncio.create_task(out.deliver(message(control_id))) for control_id in "12")
        await until(lambda: len(peer.messages) == 1)
        await asyncio.sleep(0)
        assert len(peer.messages) == 1
        peer.go_on.set()
        await asyncio.gather(first, second)
        await out.close()
    assert len(peer.messages) == 2
    assert peer.connections == 1


async def test_a_cancelled_delivery_closes_the_connection() -> None:
    async with mllp_peer((PAUSE, ack())) as peer:
        out = to(peer)
        sending = asyncio.create_task(out.deliver(message()))
        await until(lambda: len(peer.messages) == 1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        peer.go_on.set()
        await until(lambda: peer.closed == 1)
        await out.close()


async def test_a_connection_that_the_receiver_closed_while_idle_is_opened_again() -> None:
    async with mllp_peer((ack(), CLOSE)) as peer:
        out = to(peer)
        await out.deliver(message("1"))
        await until(lambda: peer.closed == 1)
        connection = out._connection
        assert connection is not None
        await until(lambda: not connection.usable)
        await out.deliver(message("2"))
        await out.close()
    assert peer.connections == 2


async def test_a_receiver_that_is_not_there() -> None:
    async with mllp_peer(ack()) as peer:
        out = to(peer)
    error = await failure(out, message())
    assert (type(error), error.reason) == (TransientDeliveryError, ReasonCode.NO_ANSWER)
    with pytest.raises(TransientDeliveryError):
        await out.probe()
    await out.close()


# -- the answer that counts ----------------------------------------------------------------------------------------

DELIVERED, LATE = "delivered", "delivered, refused late"
# setting, answers to one message -> what becomes of it
ACKS = [
    ("commit", ("AA",), DELIVERED),
    ("commit", ("CA",), DELIVERED),
    ("commit", ("CA", "AA"), DELIVERED),
    ("commit", ("CA", "AE"), LATE),
    ("commit", ("CA", "AR"), LATE),
    ("commit", ("AA", "AE"), LATE),
    ("commit", ("CE",), ReasonCode.NEGATIVE_ACK),
    ("application", ("AA",), DELIVERED),
    ("application", ("CA", "AA"), DELIVERED),
    ("application", ("CA", "AE"), ReasonCode.NEGATIVE_ACK),
    ("application", ("CA", "AR"), ReasonCode.REFUSED),
    ("application", ("CR",), ReasonCode.REFUSED),
    ("application", ("CA",), ReasonCode.NO_ANSWER),
    ("application", ("CA", "AA", "AE"), LATE),
    ("both", ("CA", "AA"), DELIVERED),
    ("both", ("CA", "AE"), ReasonCode.NEGATIVE_ACK),
    ("both", ("CA",), ReasonCode.NO_ANSWER),
    ("both", ("AA",), ReasonCode.WRONG_ACK),
    ("both", ("AE",), ReasonCode.NEGATIVE_ACK),
]


@pytest.mark.parametrize("when", ["at once", "idle", "next message"])
@pytest.mark.parametrize(("setting", "answers", "end"), ACKS)
async def test_which_answer_counts_is_a_setting_and_a_late_refusal_is_told(
    setting: str, answers: tuple[str, ...], end: str | ReasonCode, when: str
) -> None:
    first, rest = ack(answers[0]), b"".join(map(ack, answers[1:]))
    waits = end == LATE and when != "at once"
    if waits:
        script = (first + b"".join(map(ack, answers[1:-1])), PAUSE, ack(answers[-1]))
    else:
        script = (first, rest)
    told: list[LateRefusal] = []
    async with mllp_peer(script, (ack("CA"), ack("AA"))) as peer:
        out = to(peer, timeout=0.3 if end is ReasonCode.NO_ANSWER else 60.0, ack=setting)
        out.late = told.append
        sent = message("1")
        if isinstance(end, ReasonCode):
            assert (await failure(out, sent)).reason is end
            out._config.timeout = 60.0
        else:
            await out.deliver(sent)
        if waits:
            assert told == []
            peer.go_on.set()
            if when == "next message":
                await out.deliver(message("2"))
        if end == LATE:
            await until(lambda: len(told) == 1)
            assert (told[0].delivery_id, told[0].channel) == (sent.id, sent.channel)
            assert told[0].detail == f"answered {answers[-1]} after it had accepted it"
            assert f"MSA|{answers[-1]}|1".encode() in told[0].answer
        else:
            await out.deliver(message("2"))  # what followed was read with it
            assert told == []
        await out.close()


async def test_a_late_refusal_is_understood_on_another_connection() -> None:
    told: list[LateRefusal] = []
    async with mllp_peer((ack("CA"), CLOSE), (ack("AE", "1"), ack("AA"))) as peer:
        out = to(peer)
        out.late = told.append
        await out.deliver(message("1"))
        await until(lambda: peer.closed == 1)
        await out.deliver(message("2"))
        assert [one.detail for one in told] == ["answered AE after it had accepted it"]
        await out.close()
    assert peer.connections == 2


@pytest.mark.parametrize(
    ("setting", "answers", "told"),
    [
        ("commit", ("AE",), None),
        ("commit", ("CA",), None),
        ("commit", ("CA", "AR"), "it answers CA and then AR: with `ack: application` a message counts"),
        ("commit", (), "did not answer a query"),
        ("application", ("AR",), None),
        ("application", ("CA",), "it answers a query with CA alone"),
        ("both", ("CA", "AR"), None),
        ("both", ("AR",), "problem: it answers AR, and no CA: set `ack: application`"),
    ],
)
async def test_a_probe_asks_how_messages_are_acknowledged(
    setting: str, answers: tuple[str, ...], told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mllp_out, "FIRST_ANSWER_S", 60.0 if answers else 0.1)
    monkeypatch.setattr(mllp_out, "SECOND_ANSWER_S", 60.0 if len(answers) > 1 else 0.1)
    async with mllp_peer(tuple(map(ack, answers)) or SILENCE, ack("CA") + ack("AA")) as peer:
        out = to(peer, ack=setting)
        try:
            said = await out.probe()
        except RefusedDeliveryError as error:
            said = f"problem: {error.detail}"
        assert (said is None) if told is None else (said is not None and told in said)
        (asked,) = peer.messages
        assert asked.startswith(b"MSH|^~\\&|LABRELAY|")
        assert asked.split(b"|")[8:12:2] == [b"NMQ^N01", b"T"]
        await out.deliver(message())
        await out.close()
    assert peer.connections == 2


@pytest.mark.parametrize(
    "body",
    [b"", b'{"resourceType":"Bundle"}', b"MSH|^~\\&|A||||||ORU^R01||P|2.5\r", message().body + b"NTE|1||\x1c\r"],
)
async def test_what_cannot_be_sent_is_refused_without_a_connection(body: bytes) -> None:
    async with mllp_peer(ack()) as peer:
        out = to(peer)
        assert isinstance(await failure(out, delivery(body)), RefusedDeliveryError)
        await out.close()
    assert peer.connections == 0


async def test_control_ids_in_other_sets_are_matched() -> None:
    async with mllp_peer(ack()) as peer:
        out = to(peer)
        await out.deliver(message("Ü7"))
        body = message("Y7").body.replace(b"Y7", b"\xdc7")
        await out.deliver(delivery(body))
        await out.close()


async def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.sign("server"), authority.sign("client")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
    context.load_cert_chain(server.cert, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    async with mllp_peer(ack(), tls=context) as peer:
        out = to(peer, tls=Tls(ca=authority.ca, cert=client.cert, key=client.key))
        await out.deliver(message())
        await out.close()
    assert len(peer.messages) == 1


async def test_a_certificate_that_is_not_trusted_concerns_the_destination(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    server = authority.sign("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.cert, server.key)
    async with mllp_peer(ack(), tls=context) as peer:
        out = to(peer, tls=Tls(ca=other.ca))
        error = await failure(out, message())
        await out.close()
    assert isinstance(error, DestinationDownError)
    assert peer.messages == []
