"""Signatures of web hooks: the example of the specification, secrets that are none, and two keys while keys change."""

import hashlib
import hmac
from base64 import b64encode

import pytest

from adapters.codecs import signatures

# The example that the published libraries of Standard Webhooks are tested with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_example() -> None:
    assert signatures.headers([signatures.key_of(SECRET)], MESSAGE, AT, BODY) == {
        "webhook-id": MESSAGE,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_each_key_signs() -> None:
    second = b"k" * 24
    said = signatures.headers([signatures.key_of(SECRET), second], MESSAGE, AT, BODY)["webhook-signature"]
    mac = hmac.new(second, f"{MESSAGE}.{AT}.".encode() + BODY, hashlib.sha256).digest()
    assert said == f"{SIGNATURE} v1,{b64encode(mac).decode()}"


@pytest.mark.parametrize("size", [24, 64])
def test_secrets_of_the_allowed_sizes(size: int) -> None:
    assert signatures.key_of(f"whsec_{b64encode(b'x' * size).decode()}") == b"x" * size


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "password", f"whsec_{'*' * 32}", SECRET[6:], SECRET[:-4], f"whsec_{b64encode(b'x' * 65).decode()}"],
)
def test_what_is_no_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="no secret of a webhook") as refused:
        signatures.key_of(text)
    assert not text or text == "whsec_" or text not in str(refused.value)
