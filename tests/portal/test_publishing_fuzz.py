"""POST /releases asked for anything at all: an answer by name, never a fault, and nothing outside of its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from attestations.models import Publication
from tests.portal.test_publishing import FIELDS, URL, hinted, left, many_writes, raw, secret, wish
from tests.support.publishing import TAG, announce

__all__ = ["hinted", "many_writes", "secret"]  # fixtures of this module too

pytestmark = pytest.mark.django_db

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.sampled_from([URL, TAG])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
)
MEMBERS = st.sampled_from(["project", "tag", "commit", "assets", "files"])
ASSETS = st.lists(st.dictionaries(st.sampled_from(["name", "url", "sha256", "base64"]), VALUES, max_size=4), max_size=4)
_FUZZ = hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_FUZZ
@given(st.dictionaries(MEMBERS, VALUES | ASSETS), st.booleans())
def test_no_announcement_is_a_fault_of_the_portal(secret: str, body: dict[str, Any], complete: bool) -> None:
    Publication.objects.all().delete()
    told = wish(**body) if complete else body
    answer = announce(secret, json.dumps(told))
    assert answer.status_code in {202, 400, 403, 404, 413, 422, 429}
    assert answer.status_code == 202 or answer["Content-Type"] == "application/problem+json"


@_FUZZ
@given(st.binary(max_size=300))
def test_no_bytes_are_a_fault_of_the_portal(secret: str, body: bytes) -> None:
    assert announce(secret, body).status_code in {400, 422}


@_FUZZ
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"project", b"tag", b"commit", b"x"]) | st.binary(max_size=8),
            st.none() | st.sampled_from([b"manifest.json", b"../x", b"", b"vmlinuz"]) | st.binary(max_size=12),
            st.sampled_from([b"enclave", TAG.encode()]) | st.binary(max_size=60),
        ),
        max_size=6,
    ),
    st.sampled_from([b"--b--\r\n", b"", b"--b"]),
    st.sampled_from([b"", FIELDS]),
)
def test_no_form_is_a_fault_of_the_portal_or_writes_outside_of_its_place(
    secret: str, settings: Any, parts: list[tuple[bytes, bytes | None, bytes]], end: bytes, begin: bytes
) -> None:
    Publication.objects.all().delete()
    body = begin
    for name, file, value in parts:
        named = b'; filename="' + file + b'"' if file is not None else b""
        body += b'--b\r\nContent-Disposition: form-data; name="' + name + b'"' + named + b"\r\n\r\n" + value + b"\r\n"
    answer = raw(secret, body + end)
    assert answer.status_code in {202, 400, 403, 404, 413, 422, 429}
    for path in left(settings):
        assert path.name.startswith("publication-")
        assert {inside.parent.name for inside in path.rglob("*") if inside.is_file()} <= {"sent"}
