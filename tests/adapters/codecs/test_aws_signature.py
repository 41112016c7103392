"""Signature Version 4 against the examples that AWS publishes (Amazon S3 API Reference, "Signature calculations for the
Authorization header: transferring payload in a single chunk")."""

from adapters.codecs.signatures import authorization

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
HOST = "examplebucket.s3.amazonaws.com"
AT = "20130524T000000Z"


def signature(method: str, path: str, headers: dict[str, str], body_sha256: str = EMPTY, query: str = "") -> str:
    given = {"host": HOST, "x-amz-content-sha256": body_sha256, "x-amz-date": AT, **headers}
    made = authorization(
        method, path, given, body_sha256, access_key=ACCESS_KEY, secret_key=SECRET_KEY, region="us-east-1", at=AT,
        query=query,
    )  # fmt: skip
    assert made.startswith(
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,SignedHeaders="
    )
    return made.rpartition("Signature=")[2]


def test_get_object() -> None:
    assert (
        signature("GET", "/test.txt", {"range": "bytes=0-9"})
        == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_put_object() -> None:
    headers = {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    body = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    assert (
        signature("PUT", "/test%24file.text", headers, body)
        == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )


def test_list_objects() -> None:
    assert (
        signature("GET", "/", {}, query="max-keys=2&prefix=J")
        == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )
