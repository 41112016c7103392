"""What is done wrong on purpose is done as planned, and a damaged frame is damaged for certain."""

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.support.astm_host import ENQ, NAK, StrictHost
from tests.support.astm_peer import wire_frame
from workbench.simulator.faults import ALL, Fault, damage, plan_of

texts = st.binary(max_size=60).map(lambda data: bytes(byte for byte in data if byte == 13 or byte >= 32))


@given(texts, st.integers(0, 7), st.integers(0, 999), st.sampled_from(["ETX", "ETB"]))
def test_no_receiver_takes_a_damaged_frame(text: bytes, number: int, seed: int, end: str) -> None:
    frame = wire_frame(number, text, end)
    broken = damage(frame, random.Random(seed))
    assert broken != frame
    host = StrictHost()
    host.take(bytes([ENQ]))
    host._expected = number
    assert host.take(broken) == bytes([NAK])


def test_only_what_is_enabled_happens_and_each_fault_strikes_sooner_or_later() -> None:
    for fault in Fault:
        plans = [plan_of(frozenset({fault}), seed=1, session=n, transmissions=9) for n in range(60)]
        happened = {
            name
            for plan in plans
            for name, hit in {
                Fault.BAD_CHECKSUM: plan.damaged is not None,
                Fault.LOST_ACK: plan.deaf is not None,
                Fault.DROP: plan.dropped is not None,
                Fault.CONTENTION: plan.contended,
                Fault.SLOW: plan.slow,
                Fault.GARBAGE: bool(plan.noise),
                Fault.SPLIT: plan.split,
            }.items()
            if hit
        }
        assert happened == {fault}


@given(st.integers(), st.integers(0, 10_000), st.integers(0, 40), st.binary(max_size=300))
def test_a_plan_is_the_same_again_and_its_pieces_join_to_the_whole(
    seed: int, session: int, transmissions: int, data: bytes
) -> None:
    first, again = (plan_of(ALL, seed=seed, session=session, transmissions=transmissions) for _ in range(2))
    assert (first.damaged, first.deaf, first.dropped, first.noise) == (
        again.damaged, again.deaf, again.dropped, again.noise,
    )  # fmt: skip
    assert b"".join(first.pieces(data)) == data
    assert first.pieces(data) != [b""] or not data
    assert not set(first.noise) & {0x02, 0x05, 0x0B}
