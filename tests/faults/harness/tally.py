"""What was counted: the line that every fault test prints, and the sums of several of them."""

from dataclasses import dataclass, field, fields

_LARGEST = ("max_rss", "max_fd")


@dataclass(slots=True, kw_only=True)
class Tally:
    """One count, or several together.

    Attributes:
        sent: messages that senders sent, each once, however often they had to try.
        acked: those that a sender was told to be kept.
        journaled: messages in the journal, repeats included.
        delivered, dead, filtered: what became of them: deliveries made; messages and deliveries that are dead letters;
            messages (repeats included) that go nowhere on purpose.
        lost: acknowledged and not in the journal; in the journal and without an account; called delivered, and the
            destination never took it.
        dup_flagged: what a destination took again under the key it knew.
        dup_unflagged: what it took again, or took at all, under a key that tells it nothing.
        reordered: what it took for the first time after something that stood behind it in its lane.
        max_rss: MiB.
        max_fd: open files.
        recovery_ms: from each kill until the daemon listened again; shown as the 99th percentile.
        rest: other accounts of a message or delivery: open, held, dismissed, superseded, rejected, incomplete.
    """

    sent: int = 0
    acked: int = 0
    journaled: int = 0
    delivered: int = 0
    dead: int = 0
    filtered: int = 0
    lost: int = 0
    dup_flagged: int = 0
    dup_unflagged: int = 0
    reordered: int = 0
    max_rss: float = 0.0
    max_fd: int = 0
    recovery_ms: list[float] = field(default_factory=list)
    rest: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Take another count into this one."""
        for each in fields(self):
            ours, theirs = getattr(self, each.name), getattr(other, each.name)
            if each.name == "rest":
                self.rest = {name: ours.get(name, 0) + theirs.get(name, 0) for name in {**ours, **theirs}}
            else:
                setattr(self, each.name, max(ours, theirs) if each.name in _LARGEST else ours + theirs)

    def figures(self) -> dict[str, float | int]:
        """By the names that are always printed, in their order; `rest` only where it is not zero."""
        found: dict[str, float | int] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            match each.name:
                case "recovery_ms":
                    found[each.name] = round(percentile(value, 0.99))
                case "max_rss":
                    found[each.name] = round(value, 1)
                case "rest":
                    found |= {name: count for name, count in sorted(value.items()) if count}
                case _:
                    found[each.name] = value
        return found

    def line(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.figures().items())


def percentile(values: list[float], share: float) -> float:
    """The smallest of ``values`` that ``share`` of them do not exceed; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
