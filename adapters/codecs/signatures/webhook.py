"""The signature of a web hook by the Standard Webhooks specification (HMAC-SHA256). Pure.

webhook-id: 4711-1772346123000042-9f3a01c2       the same at each attempt
webhook-timestamp: 1772353800                     of the attempt, seconds since 1970
webhook-signature: v1,<base 64> v1,<base 64>      of "id.timestamp.body"; one for each key, while keys change
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64


def key_of(secret: str) -> bytes:
    """The key of a secret as receivers are given it: `PREFIX` and base 64.

    Raises:
        ValueError: it is another text, or too short or long; the error does not repeat it.
    """
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        wanted = f"{PREFIX} and {LEAST_BYTES} to {MOST_BYTES} bytes in base 64"
        raise ValueError(f"its value is no secret of a webhook; give {wanted}")
    return key


def headers(keys: Sequence[bytes], message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt; ``at``: seconds since 1970."""
    signed = b"%s.%d.%s" % (message_id.encode(), at, body)
    signatures = (b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)
    return {ID: message_id, TIMESTAMP: str(at), SIGNATURE: " ".join(f"v1,{one}" for one in signatures)}
