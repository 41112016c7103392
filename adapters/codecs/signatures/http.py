"""A signature over an HTTP request (HMAC-SHA256, RFC 2104), as web hooks carry it. Pure.

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
"""

import hashlib
import hmac

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
