"""Signatures of HTTP requests: AWS version 4, and an HMAC as web hooks carry it.

AWS Signature Version 4 (AWS General Reference, "Create a signed AWS API request"), as S3-compatible storage asks for
it. Pure.

    key       HMAC chain of the secret key over day, region, service and ``aws4_request``
    signed    ``AWS4-HMAC-SHA256``, time, scope, and SHA-256 of the canonical request: method, path, query, headers in
              order of their names, those names, SHA-256 of the body

The path is taken as it is: S3 alone among the services does not encode it twice, and our names need no encoding.

A signature over an HTTP request (HMAC-SHA256, RFC 2104), as web hooks carry it. Pure.

    LabRelay-Signature: t=1772353800,kid=2026-03,v1=<64 hexadecimal digits>

    t     when it was signed, seconds since 1970
    kid   which of the keys that sender and receiver share
    v1    HMAC-SHA256 under that key of the canonical string, lines ended by LF but for the last:

          1772353800                      t, as in the header
          2026-03                         kid
          POST                            method
          /results?lab=7                  path with its query, as in the request line
          <64 hexadecimal digits>         SHA-256 of the body as it went over the wire (compressed, where it is)

The time stops a recorded request from being sent again later, method and path stop it from being sent elsewhere. The
common ``t=...,v1=...`` of web hooks signs the time and the body alone.

The signature of a web hook by the Standard Webhooks specification (HMAC-SHA256). Pure.

webhook-id: 4711-1772346123000042-9f3a01c2       the same at each attempt
webhook-timestamp: 1772353800                     of the attempt, seconds since 1970
webhook-signature: v1,<base 64> v1,<base 64>      of "id.timestamp.body"; one for each key, while keys change
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "s3"


def authorization(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body_sha256: str,
    *,
    access_key: str,
    secret_key: str,
    region: str,
    at: str,
    query: str = "",
) -> str:
    """The value of the ``Authorization`` header.

    Args:
        headers: those to be signed, with ``host`` and every ``x-amz-`` among them; names in lower case.
        body_sha256: in hexadecimal.
        at: ``20260301T063000Z``, as in ``x-amz-date``.
        query: canonical: parameters in order, encoded.
    """
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    request = "\n".join((method, path, query, lines, names, body_sha256))
    scope = f"{at[:8]}/{region}/{SERVICE}/aws4_request"
    signed = "\n".join((ALGORITHM, at, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, signed.encode(), hashlib.sha256).hexdigest()
    return f"{ALGORITHM} Credential={access_key}/{scope},SignedHeaders={names},Signature={signature}"


HEADER = "LabRelay-Signature"


def sign(key: bytes, key_id: str, at: int, method: str, path: str, body: bytes) -> str:
    """The value of `HEADER`.

    Args:
        at: seconds since 1970.
        path: with its query, percent-encoded as in the request line.
    """
    text = canonical(key_id, at, method, path, body)
    return f"t={at},kid={key_id},v1={hmac.new(key, text, hashlib.sha256).hexdigest()}"


def canonical(key_id: str, at: int, method: str, path: str, body: bytes) -> bytes:
    """The canonical string that is signed."""
    return "\n".join((str(at), key_id, method, path, hashlib.sha256(body).hexdigest())).encode()


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
