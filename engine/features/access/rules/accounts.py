"""Accounts: users, their log-in sessions, and tokens of programs, as they are stored; names and delays, pure.

Why a log-in at the identity provider was refused, as the person reads it; the log has the reason.
"""

import ipaddress
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from engine.model.errors import NOT_PROVEN, RefusedError
from engine.model.site.actor import Actor
from engine.model.site.permissions import OF_UNITS, ROLES, SEEING_PATIENTS, Permission, Principal, parts_of
from engine.model.texts.phrases import R_

LONGEST_NAME = 64  # characters
OF_NO_USER = frozenset({"labrelay"})  # the daemon acts under this name

# Refused log-ins in a row that cost nothing, then the delay, which doubles up to its limit.
FREE_OF_USER, FREE_OF_ADDRESS = 5, 20
FIRST_DELAY_US = 15_000_000
LONGEST_DELAY_US = 15 * 60_000_000
FORGOTTEN_US = 3_600_000_000  # after this long without another refusal the count begins anew
_IPV6_NETWORK = 64  # bits; one computer has all addresses below


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What proves that a user is there; sealed in the store.

    Attributes:
        password, pin: hashes, as argon2 encodes them; empty: none.
        totp: the secret of the second factor, base 32; empty: none.
        step: the time step (RFC 6238) of the last code that was taken; no code of it or of an earlier one is.
        offered: a secret that becomes `totp` when a code of it is given.
        recovery: SHA-256 of the recovery codes that are left, hexadecimal.
        given: another person chose the password, so its user has to choose one at the next log-in.
    """

    password: str = ""
    pin: str = ""
    totp: str = ""
    step: int = 0
    offered: str = ""
    recovery: tuple[str, ...] = ()
    given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A person as an identity provider proves them: issuer and subject are who it is, the rest may change.

    Attributes:
        name: what is shown, if it is free here.
    """

    issuer: str
    subject: str
    name: str
    role: str
    sees_patients: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who may log in.

    Attributes:
        role: as `engine.model.site.permissions.ROLE` has it.
        issuer: the identity provider at which this user logs in; empty: here, with a password.
        subject: what the provider knows this user by; empty as ``issuer``.
        created_us, logged_in_us: instants; 0 never.
        language: of the pages, as `engine.web.languages` has it; empty: as the browser asks.
    """

    id: int
    name: str
    role: str
    sees_patients: bool
    disabled: bool
    credentials: Credentials = field(repr=False)
    created_us: int
    logged_in_us: int
    issuer: str = ""
    subject: str = ""
    language: str = ""

    @property
    def permissions(self) -> frozenset[Permission]:
        return frozenset[Permission]().union(*(there for _, there in self.rights))

    @property
    def rights(self) -> list[tuple[str, frozenset[Permission]]]:
        """Each unit with the permissions there; without a name it is the whole site."""
        besides = SEEING_PATIENTS if self.sees_patients else frozenset()
        return [(unit, ROLES[role] | besides) for unit, role in parts_of(self.role)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogInSession:
    """A log-in of a user in one browser, until it ends.

    Attributes:
        token: SHA-256 of its secret.
        number: what people name it by.
        user: the id.
        how: what was proven: "password", "second factor", "PIN" or "set-up link".
        ends_us: its latest end; it ends earlier when it is idle.
        kept: sealed, what a log-out at the identity provider needs; empty: the log-in was not proven there.
    """

    token: bytes = field(repr=False)
    number: int
    user: int
    address: str
    how: str
    began_us: int
    seen_us: int
    ends_us: int
    kept: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A browser that a user has logged in from.

    Attributes:
        number: what its refusals are counted by; it stays when the browser's secret changes.
        pin_until_us: until when a PIN suffices there; 0: a full log-in is needed.
        wrong_pins: in a row.
    """

    number: int
    pin_until_us: int
    wrong_pins: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A program's right to ask.

    Attributes:
        token: SHA-256 of its secret.
        ends_us: 0: it has no end.
        used_us, used_from: the last use and its address; 0 and empty: none.
        units: empty: the whole site.
    """

    name: str
    token: bytes = field(repr=False)
    permissions: frozenset[Permission]
    made_by: str
    created_us: int
    ends_us: int
    used_us: int
    used_from: str
    units: tuple[str, ...] = ()

    @property
    def rights(self) -> list[tuple[str, frozenset[Permission]]]:
        """As of `User`."""
        return [(unit, self.permissions) for unit in self.units or ("",)]


@dataclass(frozen=True, slots=True)
class Known:
    """All accounts at one moment.

    Attributes:
        users, names: by id, and the id by `name_key`.
        sessions, tokens: by SHA-256 of their secrets.
        devices: by device and user.
    """

    users: dict[int, User]
    names: dict[str, int]
    sessions: dict[bytes, LogInSession]
    devices: dict[tuple[bytes, int], Device]
    tokens: dict[bytes, ApiToken]

    def named(self, name: str) -> User | None:
        return self.users.get(self.names.get(name_key(name), 0))


Units = Mapping[str, Sequence[str]]  # of the site, with their channels


def principal_of(account: User | ApiToken, actor: Actor, units: Units, *, held_up: bool = False) -> Principal:
    """Who asks, by the account that was proven. A unit that the site does not have gives nothing."""
    if not account.rights[0][0]:
        return Principal(actor, account.permissions, held_up)
    channels: dict[str, frozenset[Permission]] = {}
    for unit, there in account.rights:
        for channel in units.get(unit, ()):
            channels[channel] = channels.get(channel, frozenset()) | there & OF_UNITS
    return Principal(actor, account.permissions & OF_UNITS, held_up, channels)


def hashed(secret: str) -> bytes:
    """What is stored of a secret of 32 random bytes; such a one cannot be found by trying."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def shown_name(name: str) -> str:
    """The name of a new user, in one form of Unicode.

    Raises:
        RefusedError: it is empty, too long, or has signs that a page or a log cannot show.
    """
    shown = " ".join(unicodedata.normalize("NFKC", name).split(" ")).strip()
    if not 0 < len(shown) <= LONGEST_NAME:
        raise RefusedError(f"a user's name has 1 to {LONGEST_NAME} characters")
    if "  " in shown or ":" in shown or any(_is_unseen(sign) for sign in shown):
        raise RefusedError(R_("a user's name has letters, digits, signs that are seen, and single spaces; no colon"))
    if name_key(shown) in OF_NO_USER:
        raise RefusedError(f"{shown} is not a person: the daemon acts under this name")
    return shown


def _is_unseen(sign: str) -> bool:
    return sign != " " and unicodedata.category(sign)[0] in "CZ"


def name_key(name: str) -> str:
    """What names are compared by: two users differ in more than the case, width or form of letters."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def network_of(address: str) -> str:
    """The part of an address whose refusals are counted together; empty: no address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, _IPV6_NETWORK), strict=False))
        return str(found.ipv4_mapped)
    return str(found)


def delay_us(refused: int, free: int) -> int:
    """How long the next log-in is refused without a look, after so many refusals in a row."""
    if refused < free:
        return 0
    return min(FIRST_DELAY_US << min(refused - free, 16), LONGEST_DELAY_US)


WRONG = NOT_PROVEN
DENIED = R_("the identity provider did not let you in")
LATE = R_("this log-in was begun too long ago, or in another browser; log in again")
UNREACHABLE = R_("the identity provider cannot be reached; try again, or log in with a password of this page")
NO_ROLE = R_("your groups at the identity provider have no role here; ask the person who administers LabRelay")
NOT_ALLOWED = R_("this account of the identity provider may not log in here")
NOT_ANEW = R_("the identity provider did not ask you to prove anew who you are; log in again")
NO_TIME = R_(
    "the identity provider does not say when you proved who you are (auth_time); ask the person who administers"
    " LabRelay to look at single_sign_on of access: oidc"
)
