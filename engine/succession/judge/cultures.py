"""Cultures (rule 6): a report has all of it, so what it has no more is gone; growth and no growth exclude each other.

    before                          now                             decision
    isolates                        some of them, and others        those that it lacks are withdrawn with it
    growth, not yet identified      an organism                     it is that growth, and takes its place
    isolates                        another, of the same number     it was that one, and is amended
    isolates                        others alone                    held: some more, or the first are gone
    a Gram stain beside isolates    isolates alone                  held
    isolates, or growth in words    no isolate, or "no growth"      held: a person was treated for it, or will be
    "no growth", not finished       an isolate                      it has grown: the first is withdrawn
    "no growth", finished           an isolate                      held
    an isolate                      it is withdrawn, alone          its susceptibilities go with it
    a report, and a later one       the first again                 an echo: a memory withdraws nothing

Numbers of isolates (OBX-4) and orders (OBR-1) are given anew in each message: an isolate is known by its organism. Two
bottles with numbers of their own are two cultures; growth on one channel excludes "no growth" on another.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from engine.model.content.facts import Facts, Result
from engine.succession.judge import keys
from engine.succession.judge.rejected import plain
from engine.succession.judge.words import Ref, Said, Standing
from engine.succession.steps import CANCELLED, MINUTE, UNFINISHED, WITHDRAWN

# LOINC: bacteria, fungi, mycobacteria or microorganisms identified by culture.
IDENTIFIED = frozenset(
    f"http://loinc.org|{code}"
    for code in (
        "600-7", "630-4", "625-4", "624-7", "6460-0", "606-4", "6462-6", "626-2", "609-8", "610-6", "611-4", "6463-4",
        "634-6", "635-3", "11475-1", "580-1", "543-9",
    )
)  # fmt: skip
_NO = "no|nil|kein[a-z]*|absence de|pas de|sin|sem|sans|aus[eê]ncia de|n[aã]o houve|no hubo|no hay|nessuna|assenza di"
_GROWTH = (
    "growth|grown|organisms?|bacteria|pathogens?|isolated?s?|fung(?:us|i)|mycobacteria|[a-z]*wachstum|keime?|erreger"
    "|croissance|culture|germes?|crecimiento|desarrollo|crescimento|crescita"
)
_NO_GROWTH = re.compile(
    rf"\b(?:{_NO})\b(?! (?:other|further|additional|more|weiter|ander|autre|otr|outr|altr)).{{0,40}}\b(?:{_GROWTH})\b"
    r"|\bnot? (?:isolated|grown)\b|\b(?:growth|organisms?) not (?:seen|detected|observed|found)\b"
    r"|\bcult(?:ur\w*|ivo) (?:is |was )?n[eé]gativ|\bnegative cultur|\bst[eé]rile?\b|\best[eé]ril\b|\bkeimfrei\b",
    re.IGNORECASE,
)
_NOTHING = re.compile(r"neg\.?|negativ[eo]?|n[eé]gati[fv]e?|nil|none|n\.?g\.?", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{3}")
_LONGEST = 200  # characters in which it is looked for


def organism_of(result: Result, heads: Iterable[int]) -> str:
    """The organism of an isolate; empty: it is none."""
    own, codes = result.measure.own, result.measure.codes
    is_one = (
        result.isolate
        or (own and not IDENTIFIED.isdisjoint(own))
        or (codes and codes is not own and not IDENTIFIED.isdisjoint(codes))
    )
    if not is_one and not (result.place in heads and _is_named(result)):
        return ""
    text = result.value.code or result.value.words or result.value.sent or ""
    return "" if is_nothing(result.value.sent or "") or is_nothing(text) else plain(text).casefold()


def _is_named(result: Result) -> bool:
    return result.value.number is None and bool(result.value.words or result.value.code)


def is_no_growth(value: str) -> bool:
    return _NO_GROWTH.search(value[:_LONGEST]) is not None


def are_in(facts: Facts) -> bool:
    """Whether a message has an isolate, or says that nothing grew."""
    return any(
        True
        for person in facts.people
        for order in person.orders
        for one in order.results
        if one.value.number is None and (one.isolate or organism_of(one, ()) or is_no_growth(one.value.sent or ""))
    )


def is_one(said: Said) -> bool:
    """Whether a result is of a culture."""
    return bool(said.organism) or is_no_growth(said.value)


def is_nothing(value: str) -> bool:
    """Whether the value of an isolate's code says that there is none."""
    return is_no_growth(value) or _NOTHING.fullmatch(value.strip().split("^")[0]) is not None


def _denies(one: Said, codes: Collection[str]) -> bool:
    """Whether it says that nothing grew. ``codes``: of isolates."""
    return is_no_growth(one.value) or (one.test in codes and is_nothing(one.value))


def is_contradiction(new: Said, message: Sequence[Said]) -> bool:
    """Whether a message has isolates of an order, and "no growth" of the same panel; for both of them."""
    if new.isolate:
        return any(is_no_growth(one.value) and one.panel == new.panel for one in message)
    return is_no_growth(new.value) and any(one.isolate and one.panel == new.panel for one in message)


def contradicted(new: Said, message: Sequence[Said], order: Sequence[Standing]) -> list[Standing]:
    """What of its order a result cannot be true beside; then it is held.

    Args:
        message: all results of it. order: what is valid of the order, on all channels.
    """
    alive = [one for one in order if _is_alive(one)]
    if new.isolate:
        return [one for one in alive if _denies(one.last, {new.test}) and one.last.version.said not in UNFINISHED]
    isolates = [one for one in alive if one.last.isolate]
    if is_no_growth(new.value):
        # Words that were beside "no growth" before are no growth: how it looks, what is in the stain.
        denied = [one.last.message for one in alive if one.last.key == new.key and is_no_growth(one.last.value)]
        since = max(denied, default=0)
        words = [one for one in alive if not one.last.isolate and one.last.panel == new.panel and _is_growth(one.last)]
        return isolates + [one for one in words if one.last.key != new.key and one.last.message > since]
    isolates = [one for one in isolates if one.last.channel == new.channel]
    if not isolates or new.organism or any(one.isolate for one in message):
        return []
    same_panel = [one for one in isolates if one.last.panel == new.panel]
    return [] if any(one.last.key == new.key for one in alive) else same_panel


def _is_growth(said: Said) -> bool:
    """Words, of a test that says what grew: nothing but a culture has "no growth" beside it."""
    return _WORD.search(said.value) is not None and not is_no_growth(said.value)


def tested_before(new: Said, order: Sequence[Standing]) -> list[Standing]:
    """The susceptibilities that a result may be about, which is alone and names no isolate."""
    if new.organism:
        return []
    return [one for one in order if one.last.organism and not one.last.isolate and one.last.test == new.test
            and _is_alive(one)]  # fmt: skip


def with_isolates(message: Sequence[Said], standing: Sequence[Standing]) -> tuple[list[Said], list[Standing]]:
    """Both, with each result of the code of an isolate as one, too: that it is one only another report shows."""
    lasts = [one.last for one in standing]
    codes = {(one.person, one.number, one.panel, one.test) for one in (*message, *lasts) if one.isolate}
    if not codes:
        return [*message], [*standing]
    counts = Counter[tuple[str, ...]]()
    told = []
    for one in message:
        code = one.person, one.number, one.panel, one.test
        counts[code] += code in codes
        told.append(_as_isolate(one, f"#{counts[code]}") if code in codes else one)
    known = [
        one._replace(words=tuple(_as_isolate(word, "#1") for word in one.words))
        if (one.last.person, one.last.number, one.last.panel, one.last.test) in codes
        else one
        for one in standing
    ]
    return told, known


def _as_isolate(one: Said, number: str) -> Said:
    if one.isolate or not one.value or is_nothing(one.value) or any(map(str.isdigit, one.value.split("^")[0])):
        return one
    organism = plain(one.value.split("^")[0]).casefold()
    return one._replace(isolate=True, organism=organism, sub="", head=one.place, counted=one.counted or number)


class Replaced(NamedTuple):
    """What a report of a culture makes of the one before it.

    Attributes:
        pairs: place -> the result that it was before; None: it is new.
        gone: what it has no more. why: it is held, for this; ``about`` what is missing.
        is_memory: it repeats a report that was sent.
    """

    pairs: Mapping[int, Standing | None] = MappingProxyType({})
    gone: tuple[Ref, ...] = ()
    why: str = ""
    about: tuple[Standing, ...] = ()
    is_memory: bool = False


class _Isolate(NamedTuple):
    head: Any
    members: list[Any]


def replaced(message: Sequence[Said], order: Sequence[Standing], *, one_by_one: bool) -> Replaced:
    """How a report takes the place of the one before it.

    Args:
        message: the results of one culture. order: what is known of its order and panel, on its channel.
    """
    if is_known(message, order):
        return Replaced(is_memory=True)
    alive = [one for one in order if _is_alive(one)]
    new = [_Isolate(one, [each for each in message if each.head == one.place and each is not one])
           for one in message if one.isolate]  # fmt: skip
    old = [_Isolate(one, [each for each in alive if _belongs(each, one)]) for one in alive if one.last.isolate]
    found = _paired(new, old)
    numbers = {word.counted for one in order for word in one.words if word.isolate}
    is_beside = bool(old) and not any(found.values()) and all(one.head.counted not in numbers for one in new)
    if is_beside and not one_by_one:
        return Replaced(
            why="other isolates alone: some more, or the first are gone", about=tuple(one.head for one in old)
        )
    pairs: dict[int, Standing | None] = {}
    for one in new:
        theirs = found[one.head.place]
        pairs[one.head.place] = theirs.head if theirs else None
        free = list(theirs.members) if theirs else []
        for member in one.members:
            same = next((each for each in free if each.last.test == member.test), None)
            pairs[member.place] = same
            if same is not None:
                free.remove(same)
    named = {one.key for one in message}
    kept = {one.ref for one in pairs.values() if one is not None}
    others = [one for one in alive if not one.last.organism and one.last.key not in named]
    codes = {one.test for one in message if one.isolate}
    open_ended = [one for one in others if _denies(one.last, codes) and one.last.version.said in UNFINISHED]
    lacking = tuple(one for one in others if one not in open_ended and not one_by_one)
    missing = [one for isolate in old for one in (isolate.head, *isolate.members) if one.ref not in kept]
    if lacking:
        about = (*lacking, *missing)
        return Replaced(pairs=pairs, why="its report lacks results that it had before", about=about)
    lost = [one.ref for one in missing]
    if is_beside or one_by_one:
        lost = []
    return Replaced(pairs=pairs, gone=tuple(dict.fromkeys([*lost, *(one.ref for one in open_ended)])))


def is_known(message: Sequence[Said], order: Sequence[Standing]) -> bool:
    """Whether one report before had all of this one, and nothing else."""
    common: set[int] | None = None
    listing: set[Ref] = set()
    for new in (one for one in message if one.organism):
        same = [
            one
            for one in order
            if one.ref not in listing
            and any((each.key, each.version.whole, each.version.said)
                    == (new.key, new.version.whole, new.version.said) for each in one.words)
        ]  # fmt: skip
        if not same or len(new.version.time) < MINUTE:
            return False
        listing.add(same[0].ref)
        common = set(same[0].listed) if common is None else common & set(same[0].listed)
    more = {number for one in order if one.last.organism and one.ref not in listing for number in one.listed}
    return bool(common and common - more)


def members_of(head: Standing, some: Iterable[Standing]) -> list[Ref]:
    """The susceptibilities of an isolate that are in force; of any other result there are none."""
    if not head.last.isolate:
        return []
    of, channel = keys.unit(head.last), head.last.channel
    return [
        one.ref
        for one in some
        if (keys.unit(one.last), one.last.channel) == (of, channel) and _is_alive(one) and _belongs(one, head)
    ]


def _belongs(one: Standing, head: Standing) -> bool:
    """Whether a result is one of an isolate: a word of it was sent beside one of that, else by the organism."""
    if one.last.isolate or one.last.organism != head.last.organism:
        return False
    sent = {(word.message, word.head) for word in head.words}
    return (one.last.message, one.last.head) in sent or one.last.message not in {message for message, _ in sent}


def _paired(new: Sequence[_Isolate], old: Sequence[_Isolate]) -> dict[int, _Isolate | None]:
    """Each isolate with the one that it was: by organism and susceptibilities, by organism and number, by organism, by
    its number; and one that is identified with the growth that was seen before it."""
    passes: tuple[Callable[[_Isolate, _Isolate], bool], ...] = (
        lambda mine, theirs: (
            _profile(mine.head, mine.members) == _profile(theirs.head.last, [one.last for one in theirs.members])
        ),
        lambda mine, theirs: (
            (mine.head.organism, mine.head.counted) == (theirs.head.last.organism, theirs.head.last.counted)
        ),
        lambda mine, theirs: bool(mine.head.organism == theirs.head.last.organism),
        lambda mine, theirs: bool(mine.head.counted == theirs.head.last.counted),
        lambda mine, theirs: theirs.head.last.version.said in UNFINISHED and not theirs.members,
    )
    found: dict[int, _Isolate | None] = dict.fromkeys((one.head.place for one in new), None)
    free = list(old)
    for is_same in passes:
        for mine in new:
            if found[mine.head.place] is None:
                theirs = next((one for one in free if is_same(mine, one)), None)
                if theirs is not None:
                    found[mine.head.place] = theirs
                    free.remove(theirs)
    return found


def _profile(head: Said, members: Sequence[Said]) -> tuple[str, frozenset[tuple[str, bytes]]]:
    return head.organism, frozenset((one.test, one.version.content) for one in members)


def _is_alive(one: Standing) -> bool:
    return one.last.version.said not in (WITHDRAWN, CANCELLED)
