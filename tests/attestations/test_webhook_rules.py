"""Where webhooks may go, how they are signed, and how long they are tried."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.changes import RecordedVerdict
from attestations.domain.delivery import MOST_ATTEMPTS, ReleaseAddresses, retry_delay, verdict_body
from attestations.domain.internet import is_public
from attestations.domain.webhook_address import parse_address
from attestations.domain.webhook_errors import (
    WebhookAddressRefused,
    WebhookAddressWithCredentials,
    WebhookNotHttps,
    WebhookOddPort,
    WebhookPrivateAddress,
    WebhookSecretUnreadable,
)
from attestations.domain.webhook_signature import shown_secret, signed_headers
from attestations.webhook_secrets import SecretBox

NOT_PUBLIC = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2002:7f00:1::",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
IN_DISGUISE = [
    "2130706433",
    "127.1",
    "0177.0.0.1",
    "0x7f.1",
    "0x7f000001",
    "127.0.0.1.",
    "0x",
    "evil.example.0x1",
    "1.2.3.4.5",
]
"""Notations of inet_aton(3) for an IPv4 address, and what looks like one."""
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_address_of_this_machine_or_a_private_network_is_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(WebhookPrivateAddress):
        parse_address(f"https://{host}/hook")


@pytest.mark.parametrize("host", IN_DISGUISE)
def test_a_host_that_ends_in_a_number_is_no_name_however_a_resolver_reads_it(host: str) -> None:
    for written in (host, host.upper()):
        with pytest.raises(WebhookAddressRefused, match="names no host"):
            parse_address(f"https://{written}/hook")


@pytest.mark.parametrize("host", ["8.8.8.8", "1.example.org", "0x7f.example", "a1", "1a", "x.0xg"])
def test_a_public_address_and_a_name_with_numbers_are_hosts(host: str) -> None:
    assert parse_address(f"https://{host}/hook").host == host


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_address_embedded_in_another_is_as_public_as_it_is_alone(address: ipaddress.IPv4Address) -> None:
    mapped, nat64 = f"::ffff:{address}", int(ipaddress.ip_address("64:ff9b::")) + int(address)
    assert is_public(ipaddress.ip_address(mapped)) is is_public(address)
    assert is_public(ipaddress.IPv6Address(nat64)) is is_public(address)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("http://example.org/", WebhookNotHttps),
        ("ftp://example.org/", WebhookNotHttps),
        ("file:///etc/passwd", WebhookAddressRefused),
        ("gopher://example.org:443/", WebhookNotHttps),
        ("https://ada:secret@example.org/", WebhookAddressWithCredentials),
        ("https://@example.org/", WebhookAddressWithCredentials),
        ("https://example.org:6379/", WebhookOddPort),
        ("https://example.org:22/", WebhookOddPort),
        ("https://example.org:99999/", WebhookAddressRefused),
        ("https://example.org:0/", WebhookOddPort),
        ("https://localhost/", WebhookPrivateAddress),
        ("https://LOCALHOST./", WebhookPrivateAddress),
        ("https://x.localhost/", WebhookPrivateAddress),
        ("https:///hook", WebhookAddressRefused),
        ("https://exa mple.org/", WebhookAddressRefused),
        ("https://example.org/\r\nHost: evil", WebhookAddressRefused),
        ("https://exämple.org/", WebhookAddressRefused),
        ("https://[::1/", WebhookAddressRefused),
        ("https://example..org/", WebhookAddressRefused),
        ("https://-example.org/", WebhookAddressRefused),
        (f"https://example.org/{'a' * 500}", WebhookAddressRefused),
        ("example.org", WebhookAddressRefused),
        ("", WebhookAddressRefused),
    ],
)
def test_each_address_that_is_refused_is_refused_by_name(text: str, error: type[WebhookAddressRefused]) -> None:
    with pytest.raises(WebhookAddressRefused) as raised:
        parse_address(text)
    assert type(raised.value) is error
    assert "secret" not in str(raised.value)


def test_an_address_is_taken_apart_once() -> None:
    address = parse_address("https://Hooks.Example.org:8443/a/b?c=d#e")
    assert (address.scheme, address.host, address.port, address.target) == (
        "https",
        "hooks.example.org",
        8443,
        "/a/b?c=d",
    )
    assert parse_address("https://example.org").target == "/"


def test_an_exempt_host_is_exempt_on_its_port_only() -> None:
    exempt = frozenset({"127.0.0.1:8099"})
    assert parse_address("http://127.0.0.1:8099/", exempt).is_exempt
    with pytest.raises(WebhookNotHttps):
        parse_address("http://127.0.0.1:8098/", exempt)
    with pytest.raises(WebhookPrivateAddress):
        parse_address("https://127.0.0.1/", exempt)


@given(text=st.text(max_size=80))
def test_no_text_gives_anything_but_an_address_or_a_named_error(text: str) -> None:
    for written in (text, f"https://{text}", f"https://example.org{text}"):
        try:
            address = parse_address(written)
        except WebhookAddressRefused:
            continue
        assert (address.scheme, address.is_exempt) == ("https", False)
        assert address.port in {443, 8443}


def test_a_signature_is_the_one_of_the_specifications_example() -> None:
    """The example of https://github.com/standard-webhooks/standard-webhooks, "Signature scheme"."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, [secret])
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(secrets=st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=3), body=st.binary(max_size=50))
def test_every_secret_gives_a_signature(secrets: list[bytes], body: bytes) -> None:
    made = signed_headers("verdict_1", 5, body, secrets)["webhook-signature"].split(" ")
    expected = [hmac.new(secret, b"verdict_1.5." + body, hashlib.sha256).digest() for secret in secrets]
    assert made == [f"v1,{base64.b64encode(one).decode()}" for one in expected]


@given(secret=st.binary(min_size=1, max_size=64))
def test_a_secret_is_shown_whole_and_opened_as_it_was_sealed(secret: bytes) -> None:
    assert base64.b64decode(shown_secret(secret).removeprefix("whsec_")) == secret
    box = SecretBox("the portal's")
    assert box.open(box.seal(secret)) == secret
    assert secret not in box.seal(secret) or len(secret) < 3
    with pytest.raises(WebhookSecretUnreadable):
        SecretBox("another portal's").open(box.seal(secret))


@given(chance=st.floats(0, 1, exclude_max=True))
def test_the_tries_take_about_a_day_and_come_further_and_further_apart(chance: float) -> None:
    delays = [retry_delay(attempts, chance) for attempts in range(1, MOST_ATTEMPTS)]
    assert all(later > earlier * 2 for earlier, later in itertools.pairwise(delays))
    assert timedelta(seconds=10) < delays[0] < timedelta(seconds=20)
    assert timedelta(hours=18) < sum(delays, timedelta()) < timedelta(hours=30)


def test_a_message_can_be_sent_whatever_strangers_wrote() -> None:
    verdict = RecordedVerdict("deny", "", 2, 0, 0, 0, (("k", "unknown", "\ud800\u202e<b>"),), "\ud800")
    about = ReleaseAddresses("enclave", "v1\u202e", "c" * 40, "/releases/enclave/v1/", None)
    body = verdict_body(None, verdict, datetime(2026, 1, 2, tzinfo=UTC), 1, about)
    told = json.loads(body)
    assert body.isascii()
    assert (told["type"], told["timestamp"]) == ("verdict.changed", "2026-01-02T00:00:00.000000Z")
    assert told["data"]["before"] is None
    assert told["data"]["changed_conditions"] == [{"key": "k", "before": None, "after": "unknown", "why": "��<b>"}]
