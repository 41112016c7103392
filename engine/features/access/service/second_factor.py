"""The second factor: codes of an app on the user's phone (TOTP, RFC 6238), and recovery codes for a lost phone."""

import base64
import io
import secrets
from dataclasses import replace
from hashlib import sha256

from engine.features.access.rules.accounts import Credentials

STEP_S = 30
_DRIFT = 1  # steps that a phone's clock may be off, either way
DIGITS = 6
RECOVERY_CODES = 10
_RECOVERY_BYTES = 10  # 16 signs of base 32
_GROUP = 4


def new_secret() -> str:
    """A secret, base 32."""
    import pyotp

    return pyotp.random_base32()


def step_of(secret: str, code: str, now_s: float, after: int) -> int:
    """The time step that ``code`` is of; 0: of none that may be used.

    Args:
        after: the last used step: no code is taken twice.
    """
    import pyotp

    typed = "".join(code.split())
    if len(typed) != DIGITS or not typed.isascii() or not typed.isdigit():
        return 0
    totp, now, found = pyotp.TOTP(secret), int(now_s // STEP_S), 0
    for step in range(now - _DRIFT, now + _DRIFT + 1):
        if secrets.compare_digest(totp.generate_otp(step), typed) and step > after:
            found = step
    return found


def address_of(secret: str, name: str, site: str) -> str:
    """The ``otpauth:`` address that an app reads, of the QR picture or typed in."""
    import pyotp

    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=f"LabRelay {site}".strip())


def picture_of(address: str) -> str:
    """The QR picture of an address, as an SVG element."""
    import segno

    made = io.BytesIO()
    segno.make(address, error="m").save(made, kind="svg", xmldecl=False, svgns=True, scale=4, dark="#000", light="#fff")
    return made.getvalue().decode()


def new_recovery_codes() -> list[str]:
    """Codes to print and keep: ``abcd-efgh-ijkl-mnop``, 80 random bits each."""
    made = [base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES)]
    return ["-".join(code[at : at + _GROUP] for at in range(0, len(code), _GROUP)) for code in made]


def recovery_hash(code: str) -> str:
    """What is stored of a recovery code; hyphens, spaces and case do not count."""
    plain = "".join(sign for sign in code.casefold() if sign.isalnum())
    return sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def used(credentials: Credentials, code: str, now_s: float) -> Credentials | None:
    """The credentials after this code, which may be a recovery code; None: it is wrong, or was used before."""
    if step := step_of(credentials.totp, code, now_s, credentials.step):
        return replace(credentials, step=step)
    if (kept := recovery_hash(code)) in credentials.recovery:
        return replace(credentials, recovery=tuple(one for one in credentials.recovery if one != kept))
    return None
