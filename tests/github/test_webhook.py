"""Webhooks and repository names: what counts as signed, what a delivery names, and what a name is."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.github_errors import BadWebhookSignature, MalformedDelivery
from attestations.domain.repository import Repository, checked_tag
from attestations.domain.webhook import parse_delivery, verify_signature
from builds.domain.errors import MalformedInput

# GitHub's published example: docs.github.com, "Validating webhook deliveries".
SECRET = b"It's a Secret to Everybody"
BODY = b"Hello, World!"
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

owners = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}", fullmatch=True)
names = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,95}", fullmatch=True).filter(
    lambda name: not name.lower().endswith(".git")
)


def test_githubs_own_example_is_accepted() -> None:
    verify_signature(SECRET, BODY, SIGNATURE)


@pytest.mark.parametrize(
    ("secret", "body", "header"),
    [
        (SECRET, BODY + b" ", SIGNATURE),
        (SECRET + b" ", BODY, SIGNATURE),
        (SECRET, BODY, ""),
        (SECRET, BODY, None),
        (SECRET, BODY, SIGNATURE.removeprefix("sha256=")),
        (SECRET, BODY, SIGNATURE.replace("sha256", "sha1")),
        (SECRET, BODY, SIGNATURE.upper()),
        (SECRET, BODY, SIGNATURE + "\n"),
        (SECRET, BODY, SIGNATURE[:-1] + "é"),
        (SECRET, BODY, "sha256=" + "0" * 64),
        (b"", BODY, "sha256=" + hmac.digest(b"", BODY, hashlib.sha256).hex()),
    ],
)
def test_every_other_signature_is_refused(secret: bytes, body: bytes, header: str | None) -> None:
    with pytest.raises(BadWebhookSignature) as caught:
        verify_signature(secret, body, header)
    assert SECRET.decode() not in str(caught.value)
    assert SIGNATURE.removeprefix("sha256=") not in str(caught.value)


@given(st.binary(min_size=1, max_size=50), st.binary(max_size=200), st.text(max_size=100))
def test_only_the_secret_signs(secret: bytes, body: bytes, header: str) -> None:
    verify_signature(secret, body, f"sha256={hmac.digest(secret, body, hashlib.sha256).hex()}")
    with pytest.raises(BadWebhookSignature):
        verify_signature(secret, body, header)


@pytest.mark.parametrize("event", ["release", "create", "push"])
def test_an_event_of_interest_names_its_repository(event: str) -> None:
    body = json.dumps({"action": "published", "repository": {"id": 1, "full_name": "acme/enclave"}}).encode()
    assert parse_delivery(event, body) == Repository("acme", "enclave")


@pytest.mark.parametrize("event", ["ping", "issues", "", "Release"])
def test_other_events_are_let_pass_unread(event: str) -> None:
    assert parse_delivery(event, b"not even JSON") is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"payload=%7B%7D",
        b"{}",
        b'{"repository": "acme/enclave"}',
        b'{"repository": {"full_name": 7}}',
        b'{"repository": {"full_name": "../.."}}',
        b'{"repository": {"full_name": "a/b"}, "repository": {"full_name": "c/d"}}',
        b"[" * 100_000,
    ],
    ids=range(10),
)
def test_a_delivery_that_names_no_repository_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDelivery):
        parse_delivery("push", body)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_delivery_or_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDelivery):
        parse_delivery("push", body)


@given(owners, names)
def test_a_repository_is_read_as_it_is_written(owner: str, name: str) -> None:
    assert str(Repository.parse(f"{owner}/{name}")) == f"{owner}/{name}"


@given(st.text(max_size=60))
def test_any_text_is_a_repository_in_one_way_or_malformed(text: str) -> None:
    try:
        assert str(Repository.parse(text)) == text
    except MalformedInput:
        return
    assert text.isascii()
    assert text.count("/") == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "a", "a/", "/b", "a/b/c", "a/..", "a/.", "../b", "a/b.git", "a/b.GIT", "a b/c", "a/b?c", "a/b#c"),
        *("a/b\n", "-a/b", "a/é", "https://github.com/a/b", "a%2f/b", "a" * 40 + "/b", "a/" + "b" * 101),
    ],
)
def test_what_github_gives_out_to_nobody_is_no_repository(text: str) -> None:
    with pytest.raises(MalformedInput):
        Repository.parse(text)


@pytest.mark.parametrize("tag", ["v1.0.0", "node/v2+snp.1", "v1.7.0-rc.1", "é", "@x", "a@b"])
def test_what_git_takes_as_a_tag_is_taken(tag: str) -> None:
    assert checked_tag(tag) == tag
