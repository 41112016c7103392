"""AWS Signature Version 4 (AWS General Reference, "Create a signed AWS API request"), as S3-compatible storage asks for
it. Pure.

    key       HMAC chain of the secret key over day, region, service and ``aws4_request``
    signed    ``AWS4-HMAC-SHA256``, time, scope, and SHA-256 of the canonical request: method, path, query, headers in
              order of their names, those names, SHA-256 of the body

The path is taken as it is: S3 alone among the services does not encode it twice, and our names need no encoding.
"""

import hashlib
import hmac
from collections.abc import Mapping

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
