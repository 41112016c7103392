"""The judgement of a message: the rules of the table in `engine.succession.judge`, in its order."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from engine.model.content.facts import Facts
from engine.model.errors import TooManyAlikeError
from engine.model.texts.reasons import ReasonCode
from engine.succession.judge import clock, cultures, keys, samples, taking_back
from engine.succession.judge.matching import SAMPLE, UNEVEN, has_key, is_person, match, with_key
from engine.succession.judge.reading import said_in
from engine.succession.judge.rejected import is_same
from engine.succession.judge.samples import GROWS, Sample, at_same_time, compare, is_of_other_tube, is_other, is_within
from engine.succession.judge.texts import is_line, paired
from engine.succession.judge.words import (
    CLOCK,
    POOL,
    Decision,
    Judgement,
    Kind,
    Memory,
    Receipt,
    Ref,
    Said,
    Standing,
)
from engine.succession.steps import CHANGES, MINUTE, RANK, UNFINISHED, WITHDRAWN, Step, follow

_GONE = ReasonCode.RESULTS_GONE.value
_REJECTED = ReasonCode.REJECTED_BEFORE.value
_GOES_OUT = frozenset({"new", "follows", "amends", "finishes", "withdraws"})
MOST_PAIRS = 100_000  # of results with one name, that are compared with each other


def judge(facts: Facts, memory: Memory, receipt: Receipt) -> Judgement:
    """Decide about each result of a message.

    Args:
        memory: what is known of its orders, of all channels, before it.

    Raises:
        TooManyAlikeError: it would take seconds.
    """
    of_patients: list[Said] = []
    decisions: list[Decision] = []
    for said, role in said_in(facts, receipt):
        if role == "patient":
            of_patients.append(said)
        elif role == "control":
            decisions.append(Decision(said.place, "filtered", reason=ReasonCode.QUALITY_CONTROL.value))
        else:
            words = "of a pool, or of a role that is not known"
            decisions.append(Decision(said.place, "held", said.version.said, POOL, words))
    if not (memory.standing or memory.refused) and _is_plain(of_patients):
        decisions += [Decision(one.place, "new", one.version.said) for one in of_patients]
        decisions.sort()
        return Judgement(tuple(decisions), {one.place: one for one in of_patients})
    case = _Case(of_patients, memory, receipt)
    decisions += case.decided()
    gone = case.gone(decisions)
    decisions.sort()
    said_by_place = {one.place: one for one in case.message}
    return Judgement(tuple(decisions), said_by_place, gone)


def _is_plain(message: Sequence[Said]) -> bool:
    """Whether no rule has a word about its results, if nothing was known before: the usual message."""
    return len({keys.named(one) for one in message}) == len(message) and not any(
        one.unsure or one.status_only or one.organism or one.version.said in CHANGES for one in message
    )


class _Case:
    """One message before the judge.

    Attributes:
        taken: results that it has given a later word already. echoed: that it repeats, with the status.
    """

    def __init__(self, message: Sequence[Said], memory: Memory, receipt: Receipt) -> None:
        message, standing = cultures.with_isolates(message, memory.standing)
        self.memory = memory = memory._replace(standing=tuple(standing))
        self.message, self.receipt = message, receipt
        self.by_ref = {one.ref: one for one in memory.standing}
        tests = {one.test for one in message}
        alike = [one for one in memory.standing if one.last.test in tests]
        self._by_key = keys.grouped(message, lambda one: one.key)
        self._standing_by_key = keys.grouped(alike, lambda one: one.last.key[1:])
        self._standing_by_test = keys.grouped(alike, lambda one: one.last.test)
        self._by_order = keys.grouped(message, lambda one: (one.person, one.number))
        self._by_name = keys.grouped(message, keys.named)
        self._standing_by_name = keys.grouped(alike, lambda one: keys.named(one.last))
        self._standing_by_measurement = keys.grouped(alike, lambda one: keys.measured(one.last))
        self._refused_by_content = keys.grouped(memory.refused, lambda one: one.what)
        known = self._standing_by_name
        if sum(len(one) * (len(one) + len(known.get(name, ()))) for name, one in self._by_name.items()) > MOST_PAIRS:
            raise TooManyAlikeError
        self.taken: set[Ref] = set()
        self.echoed: set[tuple[Ref, str]] = set()
        self._gone: list[Ref] = []
        self._uneven = Counter[int]()  # the first of several runs -> how many were asked about for their count
        said = (*message, *(one.last for one in memory.standing))
        self._has_cultures = any(one.isolate or one.organism for one in said)

    def decided(self) -> list[Decision]:
        """Memories first, for what they repeat is no other one's; last what takes something back."""
        by_place = {one.place: one for one in self.message}
        found = self._cultures()
        left = {one.place for one in self.message} - {one.place for one in found}
        found += [again for one in self.message if one.place in left and (again := self._again(one))]
        found += self._twice({again.place for again in found})
        found += self._texts(found)
        new = [one for one in self.message if one.place not in {again.place for again in found}]
        rest = [one for one in new if one.version.said not in CHANGES]
        back = [one for one in new if one.version.said in CHANGES]
        places = {one.place for one in rest}
        found += [self._told(one, self._peers(one, places)) for one in rest]
        keys = {one.key for one in self.message if one.version.said not in CHANGES}
        places = {one.place for one in back}
        for one in back:
            places.discard(one.place)
            is_beside = one.key in keys and not self._is_timed(one)
            found.append(self._back(one, 1 + len(self._peers(one, places)), is_beside=is_beside))
        found = [taking_back.in_its_time(one, self.by_ref, self.receipt.later) for one in found]
        out = {one.place for one in found if one.kind in _GOES_OUT}
        found = self._whole(found)
        return [one._replace(beside=self._beside(by_place[one.place], one, out)) for one in found]

    def _whole(self, decisions: list[Decision]) -> list[Decision]:
        """Of a sender whose reports list all results of an order: one that lacks some is held as it is."""
        if not self.receipt.whole:
            return decisions
        by_place = {one.place: one for one in self.message}
        named = self.taken | {ref for ref, _ in self.echoed} | {one.meant for one in decisions}
        found: list[Decision] = []
        for decision in decisions:
            new = by_place[decision.place]
            lacking = [
                one.ref
                for one in self._order_of(new)
                if one.last.panel == new.panel and one.ref not in named and _stands(one)
            ]
            if lacking and decision.kind != "held" and not self._is_known_list(decision, lacking):
                words = "its report lacks results that it had before"
                decision = Decision(
                    new.place, "held", decision.status or new.version.said, _GONE, words,
                    meant=decision.meant, may_mean=tuple(lacking),
                )  # fmt: skip
            found.append(decision)
        return found

    def _is_known_list(self, decision: Decision, lacking: Sequence[Ref]) -> bool:
        """Whether it repeats a result of a report that was sent without them."""
        if decision.kind != "echo" or decision.meant not in self.by_ref:
            return False
        said = next(one for one in self.message if one.place == decision.place)
        words = [one for one in self.by_ref[decision.meant].words if one.version.whole == said.version.whole]
        with_them = {word.message for ref in lacking for word in self.by_ref[ref].words}
        return any(one.message not in with_them for one in words)

    def _twice(self, again: Collection[int]) -> Iterator[Decision]:
        """What the message itself says twice."""
        seen: set[tuple[object, ...]] = set()
        for one in self.message:
            version = one.version
            said = one.key, version.whole, version.said, version.time, one.collected, one.tube
            if said in seen and len(version.time) >= MINUTE and one.place not in again:
                yield Decision(one.place, "echo")
            seen.add(said)

    def _texts(self, known: Sequence[Decision]) -> Iterator[Decision]:
        """A text of several lines takes the place of the one before it as a whole; a shorter one is held."""
        again = {one.place: one.meant for one in known}
        for key, lines in self._by_key.items():
            new = [one for one in lines if one.place not in again]
            if len(lines) < 2 or not new or not all(map(is_line, lines)):
                continue
            before = [one for one in self._standing_by_key.get(key[1:], ()) if self._is_line_of(lines[0], one)]
            if len(before) < 2 or not any(is_line(one.last) for one in before):
                continue
            free = [one for one in before if one.ref not in again.values()]
            pairs = paired(new, free)
            lacking = tuple(one.ref for one in free if one not in pairs.values())
            for line in new:
                one = pairs.get(line.place)
                fresh = Decision(line.place, "new", line.version.said)
                decision = self._refused(line) or self._clock(line, before)
                decision = decision or (fresh if one is None else self._follows(line, one))
                if lacking and decision.kind != "held":
                    words = "a text has fewer lines than before"
                    decision = decision._replace(kind="held", reason=_GONE, words=words, may_mean=lacking)
                yield decision

    def _is_line_of(self, new: Said, one: Standing) -> bool:
        is_same = has_key(new, one.last, self.receipt) and compare(new, one.last, self.receipt) is Sample.SAME
        return is_same and _stands(one) and one.ref not in self.taken

    def _peers(self, new: Said, places: Collection[int]) -> list[Said]:
        """Others of the message, of those at ``places``, of its order, test and sample, as far as they tell."""
        return [
            one
            for one in self._by_key[new.key]
            if one.place != new.place and one.place in places and not is_other(new, one, self.receipt)
        ]

    def _beside(self, new: Said, decision: Decision, out: Collection[int]) -> tuple[Ref, ...]:
        """What else receivers have of its order and test, on any channel, or goes out with it."""
        if decision.kind not in _GOES_OUT:
            return ()
        name = keys.named(new)
        known = [(one.ref, one.last) for one in self._standing_by_name.get(name, ())]
        mine = self._by_name[name]
        known += [((one.message, one.place), one) for one in mine if one.place != new.place and one.place in out]
        known = [(ref, one) for ref, one in known if ref != decision.meant]
        before = self.by_ref.get(decision.meant or (0, 0))
        if before is not None and keys.named(before.last)[: keys.ORGANISM] != name[: keys.ORGANISM]:
            known.append((before.ref, before.last))
        parted = samples.is_of_other_material  # a list may still wait to say that one of these was withdrawn
        stands = [(ref, last) for ref, last in known if last.version.said != WITHDRAWN or parted(new, last)]
        return tuple(ref for ref, last in stands if not last.version.waits and is_person(new, last))

    # -- rules, in their order -----------------------------------------------------------------------------------------

    def _again(self, new: Said) -> Decision | None:
        """An analyzer sends its memory: the same content under the same key, measured in the same minute."""
        version = new.version._replace(repeats=True) if new.unsure and new.stated else new.version
        if not (version.repeats or len(version.time) >= MINUTE):
            return None
        for one in self._keyed(new):
            same = [one for one in one.words if (one.version.whole, one.version.said) == (version.whole, version.said)]
            if not same or is_other(new, one.last, self.receipt):
                continue
            if new.person and not any(word.person for word in same):
                continue  # it names the patient that the other lacked
            step = follow(version, one.versions, self.receipt.received)
            if step.kind in ("echo", "again"):
                self.echoed.add((one.ref, version.said))
                return Decision(new.place, "echo" if step.kind == "echo" else "again", meant=one.ref)
        return None

    def _told(self, new: Said, peers: Sequence[Said]) -> Decision:
        """Of a result that takes nothing back.

        Args:
            peers: others of its message under its key, of its sample.
        """
        if new.status_only:
            return self._finishes(new)
        keyed = self._keyed(new)
        if any(one.version.said != new.version.said for one in peers):
            return _asked(new, keyed, SAMPLE, "its message has the result in two statuses")
        left = 1 + sum(one.place > new.place for one in peers)
        return (
            self._refused(new)
            or self._clock(new, keyed)
            or self._culture(new)
            or self._renumbered(new, keyed)
            or self._matched(
                new, left, peers, [one for one in keyed if not taking_back.is_aside(one, _REJECTED, CLOCK)]
            )
        )

    def _finishes(self, new: Said) -> Decision:
        """It says that a result is final, and not which value it has: exactly one is known, or it is never sent."""
        free = [one for one in self._standing_by_test.get(new.test, ()) if one.ref not in self.taken]
        known = taking_back.in_place(new, free, self.receipt)
        words = [word.version for one in known for word in one.words]
        if len(known) != 1 or any(one.waits for one in words):
            return Decision(new.place, "dead", reason=ReasonCode.NO_VALUE.value, words="not one result is known")
        (one,) = known
        last = one.last.version
        if not last.has_value or last.said not in RANK:
            return Decision(new.place, "dead", reason=ReasonCode.NO_VALUE.value, words="the last word has no value")
        self.taken.add(one.ref)
        status = last.status if RANK[last.said] >= RANK["final"] else new.version.said
        return Decision(new.place, "finishes", status, meant=one.ref)

    def _back(self, new: Said, left: int, *, is_beside: bool) -> Decision:
        """Of one that does.

        Args:
            left: how many of its message under its key, of its sample, take something back, from this one on.
            is_beside: its message has a result under its key that does not.
        """
        withdraws = new.version.said == WITHDRAWN
        keyed = with_key(new, self._alike(new), self.receipt)
        decision = None if withdraws else self._refused(new)
        if decision := decision or self._clock(new, keyed):
            return decision
        if is_beside:
            return _asked(new, (), ReasonCode.CORRECTS_UNKNOWN.value, "its message has the result beside it")
        alike, asides = self._standing_by_test.get(new.test, ()), () if withdraws else (_REJECTED,)
        found = taking_back.find(new, left, alike, self.memory.standing, asides, self.taken, self.receipt)
        if found.one is not None:
            waits = any(word.version.waits for word in found.one.words)  # then that is withdrawn
            if withdraws and found.one.last.version.said == WITHDRAWN and not waits:
                return Decision(new.place, "echo", meant=found.one.ref)
            return self._follows(new, found.one)
        if found.may_mean or found.words:
            moved = found.moved and not withdraws
            reason = ReasonCode.ORDER_MOVED if moved else ReasonCode.CORRECTS_UNKNOWN
            return _asked(new, found.may_mean, reason.value, found.words)
        if withdraws or not new.person:
            return _asked(new, (), ReasonCode.CORRECTS_UNKNOWN.value, "no result is known that it takes back")
        return Decision(new.place, "new", new.version.said, finding=ReasonCode.CORRECTS_UNKNOWN.value)

    def _keyed(self, new: Said) -> list[Standing]:
        """What is known under its key, and is not what another result of the message is a word of. What the message
        repeats in the same status is another run; in another status, it may be what this one finishes."""
        said = new.version.said
        return [
            one
            for one in with_key(new, self._alike(new), self.receipt)
            if one.ref not in self.taken and (one.ref, said) not in self.echoed
        ]

    def _is_timed(self, new: Said) -> bool:
        """Whether its time says which of several runs it takes back."""
        used = self.taken | {ref for ref, _ in self.echoed}
        return sum(at_same_time(new, one.last) and one.ref not in used for one in self._alike(new)) == 1

    def _alike(self, new: Said) -> list[Standing]:
        return self._standing_by_key.get(new.key[1:], [])

    def _refused(self, new: Said) -> Decision | None:
        known = self._refused_by_content.get(new.content.what, ())
        if not any(is_same(one, new.content) for one in known):
            return None
        return _asked(new, (), _REJECTED, "a person has rejected this result")

    def _clock(self, new: Said, keyed: Sequence[Standing]) -> Decision | None:
        if not new.unsure or (self.receipt.clock_told and not keyed):
            return None
        return _asked(new, keyed, CLOCK, clock.WRONG)

    def _culture(self, new: Said) -> Decision | None:
        if not (self._has_cultures or new.isolate or cultures.is_no_growth(new.value)):
            return None
        order = self._culture_of(new)
        mine = self._by_order[new.person, new.number]
        if cultures.is_contradiction(new, mine):
            return _asked(new, (), _GONE, "its message has growth, and no growth")
        if alone := cultures.tested_before(new, order):
            return _asked(new, alone, SAMPLE, "a susceptibility that names no isolate")
        against = cultures.contradicted(new, mine, self._culture_of(new, of_all=True))
        if not against:
            return None
        words = "growth was reported, and now there is none" if not new.isolate else "no growth was reported as final"
        return _asked(new, against, _GONE, words)

    def _renumbered(self, new: Said, keyed: Sequence[Standing]) -> Decision | None:
        """The same measurement under another number of its order: the number was wrong, here or there."""
        if keyed:
            return None
        known = self._standing_by_measurement.get(keys.measured(new), ())
        known = [one for one in known if taking_back.is_of_order(new, one.last, self.receipt) and _stands(one)]
        return _asked(new, known, SAMPLE, "the same measurement has another order number") if known else None

    def _matched(self, new: Said, left: int, peers: Sequence[Said], keyed: Sequence[Standing]) -> Decision:
        runs = min(one.place for one in (new, *peers))
        found = match(new, left + self._uneven[runs], 1 + len(peers), keyed, self.receipt)
        self._uneven[runs] += found.words == UNEVEN
        if found.among:
            return _asked(new, found.among, SAMPLE, found.words)
        if found.one is not None and self._is_other_run(new, found.one):
            return _asked(new, [found.one], SAMPLE, UNEVEN)
        if found.one is not None:
            return self._follows(new, found.one)
        return Decision(new.place, "new", new.version.said, finding=CLOCK if new.unsure else "")

    def _is_other_run(self, new: Said, one: Standing) -> bool:
        """Whether its message repeats a run of its test, so that another finished one is perhaps a third."""
        if one.last.version.said in UNFINISHED or at_same_time(new, one.last):
            return False
        return any(self.by_ref[ref].last.key == new.key for ref, _ in self.echoed)

    def _follows(self, new: Said, one: Standing) -> Decision:
        """By the table of statuses (`engine.succession.steps`)."""
        self.taken.add(one.ref)
        if all(word.doubt for word in one.words):
            return _asked(new, [one], SAMPLE, "the result that it is a word of waits for a person")
        step = follow(new.version, one.versions, self.receipt.received)
        if step.kind == "held":
            return _held_by(step, new, one)
        if step.kind in ("echo", "again") and new.person and not one.last.person:
            return Decision(new.place, "follows", one.last.version.status, meant=one.ref)  # now it names the patient
        if step.kind in ("echo", "again"):
            return Decision(new.place, "echo" if step.kind == "echo" else "again", meant=one.ref)
        if new.version.said == WITHDRAWN:
            return Decision(new.place, "withdraws", WITHDRAWN, meant=one.ref)
        kind: Kind = "amends" if step.kind == "amended" else "follows"
        return Decision(new.place, kind, step.status, meant=one.ref, finding=CLOCK if new.unsure else "")

    # -- what comes with it --------------------------------------------------------------------------------------------

    def _cultures(self) -> list[Decision]:
        """The reports of cultures: each takes the place of the one before it, as a whole."""
        found: list[Decision] = []
        heads = {keys.unit(one): one for one in self.message if one.isolate and one.person}
        for unit, first in heads.items():
            mine = [one for one in self.message if keys.unit(one) == unit and one.version.said != WITHDRAWN]
            order = [one for one in self._culture_of(first) if one.last.panel == first.panel]
            if sum(one.isolate for one in mine) * sum(one.last.isolate for one in order) > MOST_PAIRS:
                raise TooManyAlikeError
            now = cultures.replaced(mine, order, one_by_one=self.receipt.one_by_one)
            decisions = [one for new in mine if (one := self._in_culture(new, now)) is not None]
            found += decisions
            if not {one.kind for one in decisions} & {"held", "again"}:
                self._gone += now.gone
        return found

    def _in_culture(self, new: Said, now: cultures.Replaced) -> Decision | None:
        """Of one result of such a report; None: it is no isolate, and is judged as any other."""
        if not new.organism and not now.why:
            return None
        if now.is_memory:
            same = [one for one in self._keyed(new) if one.last.key == new.key]
            self.taken.update(one.ref for one in same[:1])
            return Decision(new.place, "echo", meant=same[0].ref if same else None)
        if decision := self._refused(new) or self._clock(new, ()):
            return decision
        one = now.pairs.get(new.place)
        if now.why:
            asked = _asked(new, now.about, _GONE, now.why)
            return asked if one is None else asked._replace(meant=one.ref)
        if decision := self._culture(new):
            return decision
        if one is None:
            finding = CLOCK if new.unsure else ""
            return (
                None if new.version.said in CHANGES else Decision(new.place, "new", new.version.said, finding=finding)
            )
        last = one.last.version
        if (last.whole, last.said) == (new.version.whole, new.version.said):
            self.taken.add(one.ref)
            return Decision(new.place, "again" if last.waits else "echo", meant=one.ref)
        return self._follows(new, one)

    def gone(self, decisions: Sequence[Decision]) -> tuple[Ref, ...]:
        """What its reports of cultures have no more; nothing, while a person has to decide about one of them."""
        held = {one.place for one in decisions if one.kind == "held"}
        units = [(first.panel, self._by_order[first.person, first.number]) for first in self.message if first.isolate]
        if any(one.place in held and one.panel == panel for panel, some in units for one in some):
            return ()
        back = [self.by_ref[one.meant] for one in decisions if one.kind == "withdraws" and one.meant in self.by_ref]
        self._gone += [ref for one in back for ref in cultures.members_of(one, self.memory.standing)]
        since, until = self.receipt.later
        return tuple(ref for ref in dict.fromkeys(self._gone) if ref not in self.taken and not since < ref[0] <= until)

    def _culture_of(self, new: Said, *, of_all: bool = False) -> list[Standing]:
        """What of its order may be of one culture with a result: of no other tube."""
        return [one for one in self._order_of(new, of_all=of_all) if not is_of_other_tube(new, one.last)]

    def _order_of(self, new: Said, *, of_all: bool = False) -> list[Standing]:
        """What is known of the order of a result, on its channel or ``of_all``."""
        return [
            one
            for one in self.memory.standing
            if (one.last.person, one.last.number) == (new.person, new.number)
            and (of_all or self.receipt.of_site or one.last.channel == new.channel)
            and (self.receipt.unique or is_within(new, one.last, GROWS))
        ]


def _stands(one: Standing) -> bool:
    """Whether receivers have it, and it is not withdrawn."""
    return one.last.version.said != WITHDRAWN and not one.last.version.waits


def _held_by(step: Step, new: Said, one: Standing) -> Decision:
    reason = step.reason.value if step.reason is not None else ""
    return Decision(new.place, "held", step.status or new.version.said, reason, step.words, meant=one.ref)


def _asked(new: Said, may_mean: Sequence[Standing], reason: str, words: str) -> Decision:
    refs = tuple(one.ref for one in may_mean)
    return Decision(new.place, "held", new.version.said, reason, words, may_mean=refs)
