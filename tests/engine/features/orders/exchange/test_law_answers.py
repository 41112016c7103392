"""IHE LAW: what an analyzer says of its work steps (ORL^O34).

One that no analyzer should send changes no order that it may not change.
"""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs.hl7v2.dialogues.law import Law
from adapters.codecs.hl7v2.message import parse
from engine.model.message import FormatOptions
from engine.model.orders import item_number
from tests.engine.features.orders.exchange.test_hl7_questions import becomes, line, ordered, reasons, states
from tests.engine.features.orders.exchange.test_law import (
    ORDERS,
    OUL,
    WHO,
    answer_to,
    asked,
    cancelled,
    law,
    law_site,
    own_site,
    query,
)
from tests.support.asking_hl7 import asking_hl7, values
from tests.support.examples import examples
from tests.support.running import MLLP, RunningSite, channel, running_site
from tests.support.waiting import until


async def heard(site: RunningSite, count: int, name: str = "lab") -> None:
    """All messages of the channel have come, and have ended."""
    await until(lambda: len(site.messages(name)) == count)
    await site.settled()


async def test_each_work_step_is_accepted_or_refused_by_itself(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO), line("022", "FT4", WHO))
        _, order = await asked(analyzer, query("022"))
        analyzer.send(answer_to(order, ("W1", "OK"), ("W2", "UA"), structure="ORL_O34"))
        await becomes(site, "accepted", "refused")


async def test_an_answer_without_work_step_ids_counts_by_place_only_if_the_counts_agree(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO), line("022", "FT4", WHO))
        _, order = await asked(analyzer, query("022"))
        analyzer.send(answer_to(order, ("", "OK")))
        await until(lambda: len(site.messages("lab")) == 2)
        await site.settled()
        assert states(site) == ["offered", "offered"]

        _, order = await asked(analyzer, query("022", number="dd99"))
        analyzer.send(answer_to(order, ("", "OK"), ("", "UA")))
        await becomes(site, "accepted", "offered")  # the second had been sent before: it has it


async def test_a_work_step_that_is_sent_again_has_the_same_id_and_ua_means_known_already(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        _, first = await asked(analyzer, query("022"))
        await becomes(site, "offered")
        _, second = await asked(analyzer, query("022", number="dd99"))
        assert values(first, "OBR", 2) == values(second, "OBR", 2) == ["W1"]
        assert values(first, "MSH", 10) != values(second, "MSH", 10)

        analyzer.send(answer_to(second, ("W1", "UA")))

        await until(lambda: len(site.messages("lab")) == 3)
        await site.settled()
        assert states(site) == ["offered"]


async def test_ua_to_a_work_step_after_a_lost_connection_means_known_already(tmp_path: Path) -> None:
    async with running_site(tmp_path, law()) as site:
        await ordered(site, line("022", "TSH", WHO))
        async with asking_hl7(site.port("lab")) as analyzer:
            await asked(analyzer, query("022"))
            await becomes(site, "offered")
        await becomes(site, "waiting")
        assert reasons(site) == ["MAYBE_KNOWN"]
        async with asking_hl7(site.port("lab")) as analyzer:
            _, order = await asked(analyzer, query("022"))
            analyzer.send(answer_to(order, ("W1", "UA")))
            await until(lambda: len(site.messages("lab")) == 3)
            await site.settled()
            assert states(site) == ["offered"]


async def test_the_answer_of_another_connection_by_place_says_nothing(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer), asking_hl7(site.port("lab")) as other:
        await ordered(site, line("022", "TSH", WHO))
        _, order = await asked(analyzer, query("022"))
        other.send(answer_to(order, ("", "UA")))
        await until(lambda: len(site.messages("lab")) == 2)
        analyzer.send(answer_to(order, ("", "OK")))
        await becomes(site, "accepted")


async def test_the_answer_to_no_work_is_msh_and_msa_alone_ar_where_the_tube_is_unknown_and_changes_no_order(
    tmp_path: Path,
) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        await asked(analyzer, query("022"))
        await becomes(site, "offered")
        for code, more in (("AA", ""), ("AR", "\nERR|||204^Unknown key identifier^HL70357|E")):
            _, none = await asked(analyzer, query("099", number=code))
            assert values(none, "ORC", 1) == ["DC"]
            analyzer.send(answer_to(none, code=code) + more)
        await heard(site, 5)
        assert (states(site), reasons(site)) == (["offered"], [""])
        assert site.ends("lab") == ["QUESTION", "QUESTION", "ORDER_ANSWER", "QUESTION", "ORDER_ANSWER"]


@pytest.mark.parametrize(
    "steps",
    [
        [("W2", "UA")],  # of another message to this analyzer
        [("W3", "UA"), ("W3", "OK")],  # of another analyzer
        [("W4", "OK")],  # that no analyzer has
        [("W99", "OK"), ("w1", "UA"), ("1", "UA"), ("W01", "UA"), ("W1 x", "UA")],  # none of ours
        [("W1", "OK"), ("W1", "UA")],  # both
        [("W1", "CR")],  # the answer to a cancel that was not sent
        [("W1", "UC")],
        [("W1", "ZZ"), ("W1", "")],  # no code of an answer
    ],
)
async def test_an_answer_changes_only_what_it_answers(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    channels = {"lab": channel(MLLP, OUL, orders=ORDERS), "other": channel(MLLP, OUL, orders=ORDERS)}
    async with (
        running_site(tmp_path, channels) as site,
        asking_hl7(site.port("lab")) as analyzer,
        asking_hl7(site.port("other")) as other,
    ):
        await ordered(site, *(line(tube, "TSH", WHO, targets=("lab",)) for tube in ("T1", "T2")))
        await ordered(site, line("T3", "TSH", WHO, targets=("other",)), line("T4", "TSH", WHO))
        _, order = await asked(analyzer, query("T1"))
        await asked(analyzer, query("T2", number="dd99"))
        await asked(other, query("T3"))
        await becomes(site, "offered", "offered", "offered", "waiting")

        analyzer.send(answer_to(order, *steps))

        await heard(site, 3)
        assert (states(site), reasons(site)) == (["offered", "offered", "offered", "waiting"], [""] * 4)


async def test_an_answer_that_comes_twice_counts_once(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        _, order = await asked(analyzer, query("022"))
        analyzer.send(answer_to(order, ("W1", "OK")))
        await becomes(site, "accepted")
        analyzer.send(answer_to(order, ("W1", "UA")))
        await heard(site, 3)
        assert states(site) == ["accepted"]


async def test_the_answer_to_a_message_of_a_connection_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    async with running_site(tmp_path, law()) as site:
        await ordered(site, line("022", "TSH", WHO))
        async with asking_hl7(site.port("lab")) as analyzer:
            _, order = await asked(analyzer, query("022"))
            await becomes(site, "offered")
        await becomes(site, "waiting")
        async with asking_hl7(site.port("lab")) as analyzer:
            for how in ("OK", "UA"):
                analyzer.send(answer_to(order, ("W1", how)))
            await heard(site, 3)
            assert (states(site), reasons(site)) == (["waiting"], ["MAYBE_KNOWN"])
            _, order = await asked(analyzer, query("022", number="dd99"))
            analyzer.send(answer_to(order, ("W1", "UA")))
            await becomes(site, "offered")


async def test_an_answer_on_the_wrong_one_of_two_connections_changes_nothing(tmp_path: Path) -> None:
    async with own_site(tmp_path) as (site, analyzer, takes):
        ours = await takes.line()
        await ordered(site, line("022", "TSH", WHO))
        await analyzer.ask(query("022"))
        order = await ours.hear()
        await becomes(site, "offered")
        analyzer.send(answer_to(order, ("W1", "UA")))
        await heard(site, 2)
        assert states(site) == ["offered"]
        ours.send(answer_to(order, ("W1", "OK")))
        await becomes(site, "accepted")


@pytest.mark.parametrize("steps", [[], [("W1", "OK")], [("W1", "UA")], [("W2", "CR")], [("W1", "CR"), ("W1", "UC")]])
async def test_only_cr_to_its_own_number_ends_a_pending_cancel(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    async with own_site(tmp_path) as (site, analyzer, takes):
        ours = await takes.line()
        await ordered(site, line("022", "TSH", WHO))
        await analyzer.ask(query("022"))
        ours.send(answer_to(await ours.hear(), ("W1", "OK")))
        await becomes(site, "accepted")
        await cancelled(site, "W1")
        back = await ours.hear()
        assert values(back, "ORC", 1) == ["CA"]

        ours.send(answer_to(back, *steps))

        await heard(site, 3)
        assert states(site) == ["cancel_pending"]


STEPS = st.tuples(
    st.sampled_from(["", "W1", "W2", "W3", "W9", "W01", "x"]), st.sampled_from(["OK", "UA", "CR", "UC", "ZZ"])
)


@settings(max_examples=examples(300), deadline=None)
@given(
    steps=st.lists(STEPS, max_size=5),
    sent=st.lists(st.integers(1, 3), unique=True, max_size=3),
    again=st.sets(st.integers(1, 3)),
    cancels=st.booleans(),
    code=st.sampled_from(["AA", "AE", "AR"]),
)
def test_an_answer_says_of_an_item_only_what_it_names(
    steps: list[tuple[str, str]], sent: list[int], again: set[int], cancels: bool, code: str
) -> None:
    """A model of what an answer may say, by the words of the standard alone."""
    orcs = "".join(f"ORC|{how}|{step}\r" for step, how in steps)
    text = f"MSH|^~\\&|A||H||1||ORL^O34^ORL_O42|1|P|2.5.1\rMSA|{code}|9\r{orcs}"
    said = Law().confirmation(parse(text.encode(), FormatOptions()))
    if said is None:
        assert not any(item_number(step) and how in ("OK", "UA", "CR", "UC") for step, how in steps)
        return
    found = said.of_items(sent, again, cancels=cancels)
    assert set(found) <= set(sent)
    if code != "AA":
        assert all(not accepted for accepted, _, _ in found.values())
        return
    yes, no = ("CR", "UC") if cancels else ("OK", "UA")
    for number, (accepted, _, _) in found.items():
        if any(step for step, _ in steps):
            named = {how for step, how in steps if item_number(step) == number and how in (yes, no)}
            assert named == {yes if accepted else no}
        elif steps:
            assert len(steps) == len(sent)
            assert steps[sent.index(number)][1] == (yes if accepted else no)
        else:
            assert accepted
            assert not cancels
        assert accepted or number not in again or cancels
