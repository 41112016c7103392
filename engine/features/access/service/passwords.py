"""Passwords and PINs: their hashes (argon2id), and the rule for new ones (NIST SP 800-63B: length, no composition).

The functions that hash take some 30 ms and 19 MiB: call them in a thread, one at a time.
"""

import secrets
import unicodedata
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from engine.features.access.rules.accounts import name_key
from engine.model.errors import RefusedError
from engine.model.tables import table_lines
from engine.model.texts.phrases import R_

if TYPE_CHECKING:
    from argon2 import PasswordHasher

# OWASP Password Storage Cheat Sheet, argon2id; a change of them hashes each password anew at its next log-in.
MEMORY_KIB, ROUNDS, LANES = 19_456, 2, 1
SHORTEST, LONGEST = 12, 256  # characters
SHORTEST_PIN, LONGEST_PIN = 6, 12  # digits
_OWN_CHARACTERS = 8  # of a password, beside the user's name
_DISTINCT = 5
COMMON = frozenset(table_lines(__file__, "common_passwords.txt"))


def raise_if_weak(password: str, name: str) -> None:
    """Check a new password of the user ``name``.

    Raises:
        RefusedError: it is too short, too long, well known, or little more than the name.
    """
    text = _normal(password)
    if not SHORTEST <= len(text) <= LONGEST:
        raise RefusedError(f"a password has {SHORTEST} to {LONGEST} characters; several words are easy to remember")
    folded, key = text.casefold(), name_key(name)
    if folded in COMMON or len(set(folded)) < _DISTINCT:
        raise RefusedError(R_("this password is one that attackers try first; choose another"))
    if len(key) > 2 and key in folded and len(folded.replace(key, "")) < _OWN_CHARACTERS:
        raise RefusedError(R_("this password is little more than the user's name; choose another"))


def raise_if_no_pin(pin: str) -> None:
    """Check a new PIN.

    Raises:
        RefusedError: it has too few digits, or other characters; or it is one digit again and again, or a row of them.
    """
    if not (SHORTEST_PIN <= len(pin) <= LONGEST_PIN and pin.isascii() and pin.isdigit()):
        raise RefusedError(f"a PIN has {SHORTEST_PIN} to {LONGEST_PIN} digits")
    steps = {(int(after) - int(before)) % 10 for before, after in pairwise(pin)}
    if len(steps) == 1 and steps <= {0, 1, 9}:
        raise RefusedError(R_("this PIN is one that people try first; choose another"))


def hash_of(secret: str) -> str:
    """The hash of a password or PIN, with its salt and parameters."""
    return _hasher().hash(_normal(secret))


def matches(encoded: str, secret: str) -> bool:
    """Whether it is the secret of this hash. Without a hash it takes as long, since it is compared with random ones."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(encoded or _decoy(), _normal(secret)[: LONGEST + 1])
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(encoded: str) -> bool:
    """Whether the hash was made with other parameters than the present ones."""
    return _hasher().check_needs_rehash(encoded)


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=ROUNDS, memory_cost=MEMORY_KIB, parallelism=LANES)


@cache
def _decoy() -> str:
    return _hasher().hash(secrets.token_hex(16))


def _normal(secret: str) -> str:
    """One form of Unicode, since keyboards differ (NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", secret)
