"""Permissions: who may do which kind of thing. A role is a set of them; code asks for a permission, never for a role.

A route of the page and a verb of the control socket declare the permissions that they need, in the one place where they
are declared.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from enum import StrEnum

from engine.model.site.actor import Actor
from engine.model.texts.phrases import N_


class Permission(StrEnum):
    """One kind of thing that a person or a program may do."""

    WATCH = "watch"  # the overview alone, as a screen on a wall shows it
    LOOK = "look"  # all that names no patient
    ACT = "act"  # retry, release, pause, ...: what the daily work needs
    CHANGE = "change"  # code tables, mappings, the configuration in force
    PATIENTS = "see-patients"  # the contents of messages and documents
    ADMINISTER = "administer"  # users, tokens, keys, backups, erasure


WATCHING = frozenset({Permission.WATCH})
LOOKING = frozenset({Permission.LOOK})
ACTING = frozenset({Permission.ACT})
CHANGING = frozenset({Permission.CHANGE})
ADMINISTERING = frozenset({Permission.ADMINISTER})
SEEING_PATIENTS = frozenset({Permission.LOOK, Permission.PATIENTS})
EDITING = frozenset({Permission.ACT, Permission.PATIENTS})
ALL = frozenset(Permission)
OF_UNITS = WATCHING | SEEING_PATIENTS | ACTING  # what a role in a unit may give: the configuration is the site's

# "see-patients" belongs to no role: a person gets it besides.
ROLES: dict[str, frozenset[Permission]] = {
    N_("viewer"): WATCHING | LOOKING,
    N_("operator"): WATCHING | LOOKING | ACTING,
    N_("engineer"): WATCHING | LOOKING | ACTING | CHANGING,
    N_("admin"): ALL - {Permission.PATIENTS},
}


# A role of the whole site; or roles in units of it, as `east:operator,west:viewer`.
_IN_UNIT = r"[\w.-]+:(viewer|operator)"
ROLE = rf"^({'|'.join(ROLES)}|{_IN_UNIT}(,{_IN_UNIT})*)$"


def parts_of(role: str) -> list[tuple[str, str]]:
    """The unit and the role there of each part of a `ROLE`; one of the whole site has one part, and no unit."""
    return [(unit, there) for unit, _, there in (part.rpartition(":") for part in role.split(","))]


def permissions_of(roles: Iterable[str]) -> frozenset[Permission]:
    """All permissions of these roles; ``see-patients``, which is given besides, counts as one."""
    besides = {Permission.PATIENTS.value: frozenset({Permission.PATIENTS})}
    return frozenset().union(*((ROLES | besides)[role] for role in roles))


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or program whose request is being served.

    Attributes:
        actor: the name and the place, as the audit trail gets them.
        permissions: all that this one may do in this request.
        held_up: a person who has to do something on the own account first; until then all else is refused.
        channels: what this one may, by channel; ``permissions`` are those of all of them. None: of the whole site.
    """

    actor: Actor
    permissions: frozenset[Permission]
    held_up: bool = False
    channels: Mapping[str, frozenset[Permission]] | None = None

    def may(self, needed: Set[Permission]) -> bool:
        """Whether this one has all permissions that are needed."""
        return needed <= self.permissions

    def where(self, needed: Set[Permission]) -> "Principal":
        """The same one, for the channels where all of it is allowed."""
        if self.channels is None:
            return self
        return replace(self, channels={name: those for name, those in self.channels.items() if needed <= those})

    def _may_everywhere(self, needed: Set[Permission]) -> bool:
        """In each channel that this one sees: one page shows several."""
        return self.may(needed) and (self.channels is None or all(needed <= one for one in self.channels.values()))

    @property
    def sees_held(self) -> bool:
        """Whether the results that wait for a decision are shown to this one: who may release sees what is sent."""
        return self._may_everywhere(ACTING) or self._may_everywhere(SEEING_PATIENTS)

    @property
    def reads_reasons(self) -> bool:
        """Whether people's reasons are shown to this one: they may name a patient."""
        return self._may_everywhere(SEEING_PATIENTS) or self.may(ADMINISTERING)

    @property
    def reads_notes(self) -> bool:
        """Whether the words that people leave for each other are shown to this one: why something is paused or put off,
        and notes at entries of the to-do list. They are for those who do the work here. To others, as a wall screen or
        a program that may look, each shows who and when: a person may have written more than belongs there.
        """
        return self._may_everywhere(ACTING) or self.reads_reasons
