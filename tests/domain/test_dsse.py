"""DSSE envelopes: exactly one signature over exactly these bytes, read one way or not at all."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.dsse import IN_TOTO_PAYLOAD, MAX_ENVELOPE_BYTES, Envelope, MalformedEnvelope, pae, parse_envelope

ENVELOPE = Envelope(IN_TOTO_PAYLOAD, b'{"_type": "x"}', b"signature")


def written(**changed: Any) -> bytes:
    return json.dumps({**ENVELOPE.as_json(), **changed}).encode()


@given(
    st.text(st.characters(categories=["L", "N", "P"]), max_size=50),
    st.binary(max_size=500),
    st.binary(min_size=1, max_size=100),
)
def test_an_envelope_is_read_as_it_was_written_alone_and_inside_a_bundle(
    payload_type: str, payload: bytes, signature: bytes
) -> None:
    envelope = Envelope(payload_type, payload, signature)
    assert parse_envelope(envelope.as_bytes()) == envelope
    assert parse_envelope(envelope.as_bundle("hint")) == envelope


@given(st.text(max_size=20), st.binary(max_size=50), st.text(max_size=20), st.binary(max_size=50))
def test_two_payloads_never_share_the_bytes_that_are_signed(a: str, x: bytes, b: str, y: bytes) -> None:
    assert (pae(a, x) == pae(b, y)) == ((a, x) == (b, y))


def test_the_signed_bytes_are_those_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"payload": "", "payload": "", "payloadType": "", "signatures": []}', "same member twice"),
        (written(signatures=[]), "exactly one signature"),
        (written(signatures=[{"sig": "AA=="}, {"sig": "AA=="}]), "exactly one signature"),
        (written(signatures=[{"keyid": "k"}]), "signature is no base64"),
        (written(signatures=[{"sig": ""}]), "signature is empty"),
        (written(payload=7), "payload is no base64"),
        (written(payload="a b="), "payload is no base64"),
        (written(payload="\u0084"), "payload is no base64"),
        (written(signatures=[{"sig": "AAA\u0661"}]), "signature is no base64"),
        (written(payload=base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode()), "payload is no base64"),
        (written(payloadType=None), "payloadType is no text"),
        (written(payloadType="half a \ud800 character"), "payloadType is no text"),
        (written(extra=1), "and nothing else"),
        (b'{"dsseEnvelope": 1}', "holds no envelope"),
        (b"x" * (MAX_ENVELOPE_BYTES + 1), "larger than"),
    ],
)
def test_what_is_no_envelope_with_one_signature_is_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedEnvelope, match=reason):
        parse_envelope(data)
