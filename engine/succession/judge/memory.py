"""What is known after a judgement."""

from collections.abc import Mapping, Sequence

from engine.model.texts.reasons import ReasonCode
from engine.succession.judge.rejected import plain
from engine.succession.judge.samples import is_named_otherwise, is_of_other_material
from engine.succession.judge.words import POOL, Decision, Judgement, Memory, Ref, Said, Standing
from engine.succession.steps import CHANGES, WITHDRAWN

_UNCHANGED = frozenset({"echo", "again", "filtered", "dead"})
_NOT_ITS_WORD = frozenset({ReasonCode.ORDER_MOVED.value, ReasonCode.RESULTS_GONE.value})


def remember(memory: Memory, judgement: Judgement, *, held: bool = False) -> Memory:
    """What is known once a message was judged.

    Args:
        held: another rule holds the message, so that none of it goes out.
    """
    standing = {one.ref: one for one in memory.standing}
    note(standing, judgement, held=held)
    return memory._replace(standing=tuple(standing.values()))


def note(standing: dict[Ref, Standing], judgement: Judgement, *, held: bool = False, is_sent: bool = False) -> None:
    """As `remember`, in place.

    Args:
        is_sent: all of it went out, whatever was decided.
    """
    for decision in judgement.decisions:
        said = judgement.said.get(decision.place)
        if said is not None and said.organism and decision.kind == "echo" and decision.meant in standing:
            one = standing[decision.meant]
            standing[one.ref] = one._replace(listed=(*one.listed, said.message))
        if said is None or decision.kind in _UNCHANGED or decision.reason == POOL:
            continue
        ref = decision.meant or (said.message, said.place)
        before = standing[ref].words if ref in standing else ()
        if decision.kind == "finishes" and before:
            last = standing[ref].last
            version = last.version._replace(said=said.version.said)
            said = last._replace(message=said.message, place=said.place, version=version)
        elif before:
            said = _in_place_of(standing[ref].last, said)
        word = _as_it_goes(said, decision, waits=held or decision.kind == "held")
        if is_sent:
            word = word._replace(doubt="", version=word.version._replace(waits=False))
        listed = standing[ref].listed if ref in standing else ()
        standing[ref] = Standing(ref, (*before, word), (*listed, word.message) if word.organism else ())
    if not held:
        for ref in judgement.gone:
            if (gone := standing.get(ref)) is not None:
                standing[ref] = gone._replace(words=(*gone.words, _withdrawn(gone.last)))


def _as_it_goes(said: Said, decision: Decision, *, waits: bool) -> Said:
    status = decision.status or said.version.said
    doubt = decision.reason if decision.kind == "held" and decision.meant is None else ""
    if not (waits or doubt) and status == said.version.status:
        return said
    return said._replace(version=said.version._replace(status=status, waits=waits), doubt=doubt)


def _in_place_of(last: Said, said: Said) -> Said:
    """A later word under the key of the first: a memory of that one has to find it, whatever this one calls it."""
    return said._replace(
        channel=last.channel, person=said.person or last.person, number=last.number, panel=last.panel, sub=last.sub,
        test=said.test if said.organism else last.test, numbers=said.numbers | last.numbers,
        organism=said.organism or last.organism, head=said.head or last.head,
        counted=said.counted or last.counted, tube=said.tube or last.tube, collected=said.collected or last.collected,
        name=said.name or last.name,
    )  # fmt: skip


def _withdrawn(last: Said) -> Said:
    return last._replace(critical=False, version=last.version._replace(status=WITHDRAWN, said=WITHDRAWN, waits=False))


def words_of(
    decisions: Sequence[Decision], said: Mapping[int, Said], standing: Mapping[Ref, Standing]
) -> dict[int, Ref]:
    """Place -> the result that it is a later word of, also once a person has released it.

    Where one result alone may be meant, and under another code, it is that one if the value is the same: then its code
    was spelled otherwise. Else it is another test; so is another material, and what its sender names otherwise and does
    not correct. What another one of the message is a word of is not meant, too.
    """
    found = {one.place: one.meant for one in decisions if one.meant is not None}
    asked = [one for one in decisions if one.kind == "held" and one.place not in found and len(one.may_mean) == 1]
    for one in asked:
        (ref,) = one.may_mean
        may_be = one.reason not in _NOT_ITS_WORD and ref not in found.values()
        if may_be and _is_it(said.get(one.place), standing.get(ref)):
            found[one.place] = ref
    return found


def _is_it(new: Said | None, one: Standing | None) -> bool:
    if new is None or one is None or new.organism:
        return True
    if is_of_other_material(new, one.last):
        return False
    if new.test == one.last.test:
        return new.version.said in CHANGES or not is_named_otherwise(new, one.last)
    return bool(new.value) and plain(new.value) == plain(one.last.value)


def withdrawn(judgement: Judgement) -> tuple[Ref, ...]:
    """What goes with a document: of one that is held for it, once a person has released it."""
    lacking = (
        ref
        for one in judgement.decisions
        if one.kind == "held" and one.reason == ReasonCode.RESULTS_GONE.value
        for ref in one.may_mean
    )
    return tuple(dict.fromkeys((*judgement.gone, *lacking)))
