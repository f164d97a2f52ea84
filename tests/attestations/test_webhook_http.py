"""Sending one webhook: to checked addresses only, within one deadline, reading no more than is shown."""

from __future__ import annotations

import ipaddress
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from attestations.domain.internet import InternetAddress, IpAddress
from attestations.domain.webhook_address import parse_address
from attestations.domain.webhook_errors import (
    WebhookNotHttp,
    WebhookPrivateAddress,
    WebhookTooSlow,
    WebhookUnknownHost,
    WebhookUnreachable,
)
from attestations.webhook_http import WebhookSender
from builds.domain.errors import PortalError
from tests.support.portal import free_port
from tests.support.receivers import Behaviour, Receiver, answers, drips, floods, hangs, receiver, silent_port, talks

HEADERS = {"webhook-id": "test_1"}


def post(url: str, exempt: str, sender: WebhookSender | None = None) -> tuple[int, str]:
    answer = (sender or WebhookSender(seconds=1)).post(parse_address(url, frozenset({exempt})), HEADERS, b"{}")
    return answer.status, answer.text


def posted(it: Receiver) -> tuple[int, str]:
    return post(it.url, it.host)


def resolves(*addresses: str) -> Callable[[str, int], list[IpAddress]]:
    return lambda _host, _port: [ipaddress.ip_address(address) for address in addresses]


def test_a_message_arrives_as_it_was_given() -> None:
    with receiver(answers(201, b"thanks")) as it:
        assert posted(it) == (201, "thanks")
    (got,) = it.received
    assert (got.path, got.body, got.headers["webhook-id"]) == ("/hook?of=tests", b"{}", "test_1")
    assert (got.headers["host"], got.headers["accept-encoding"]) == (it.host, "identity")


@pytest.mark.parametrize("behaviour", [hangs, drips], ids=["hangs", "drips"])
def test_a_receiver_that_does_not_answer_in_time_is_left(behaviour: Behaviour) -> None:
    with receiver(behaviour) as it:
        began = time.monotonic()
        with pytest.raises(WebhookTooSlow):
            posted(it)
        assert time.monotonic() - began < 1.5


def test_a_receiver_that_never_speaks_tls_is_left() -> None:
    with silent_port() as port:
        began = time.monotonic()
        with pytest.raises(WebhookTooSlow):
            post(f"https://127.0.0.1:{port}/", f"127.0.0.1:{port}")
        assert time.monotonic() - began < 1.5


def test_a_resolver_that_hangs_is_left() -> None:
    def hanging(_host: str, _port: int) -> list[IpAddress]:
        time.sleep(3)
        return []

    began = time.monotonic()
    with pytest.raises(WebhookTooSlow):
        WebhookSender(hanging, seconds=0.3).post(parse_address("https://example.org/"), HEADERS, b"{}")
    assert time.monotonic() - began < 1


def test_of_an_answer_without_an_end_the_beginning_is_read() -> None:
    with receiver(floods) as it:
        status, text = posted(it)
    assert (status, text) == (200, "x" * 1000)


def test_an_answer_is_one_line_without_anything_that_turns_or_hides_it() -> None:
    with receiver(answers(200, "a\x00\nb\u202e\xff".encode() + b"\xff")) as it:
        assert posted(it) == (200, "a��b�ÿ�")


def test_an_answer_whose_body_breaks_off_has_a_status_all_the_same() -> None:
    with receiver(talks(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")) as it:
        assert posted(it) == (200, "half [the answer broke off]")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with receiver() as other, receiver(answers(status, b"", Location=other.url)) as it:
        assert posted(it) == (status, "")
        assert (len(it.received), len(other.received)) == (1, 0)


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000, b"\r\n\r\n\r\n"]
)
def test_what_is_not_http_is_named(raw: bytes) -> None:
    with receiver(talks(raw)) as it, pytest.raises((WebhookNotHttp, WebhookUnreachable)):
        posted(it)


def test_a_port_that_nobody_listens_on_is_unreachable() -> None:
    port = free_port()
    with pytest.raises(WebhookUnreachable):
        post(f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:127.0.0.1"], ["8.8.8.8", "::1"]]
)
def test_a_name_that_leads_to_a_private_address_is_not_connected_to(addresses: list[str]) -> None:
    with pytest.raises(WebhookPrivateAddress):
        WebhookSender(resolves(*addresses)).post(parse_address("https://example.org/"), HEADERS, b"{}")


@pytest.mark.parametrize("name", ["2130706433", "127.1", "0x7f.1", "localhost.localdomain", "127.0.0.1."])
def test_a_name_that_this_machine_itself_takes_for_its_own_is_not_connected_to(name: str) -> None:
    """Also where it came past the rule that a host which ends in a number is no name."""
    address = InternetAddress("https", name, 443, "/", is_exempt=False)
    with pytest.raises((WebhookPrivateAddress, WebhookUnknownHost)):
        WebhookSender(seconds=3).post(address, HEADERS, b"{}")


@pytest.mark.parametrize("failing", [OSError("no such host"), None])
def test_a_name_without_an_address_is_named(failing: OSError | None) -> None:
    def resolver(_host: str, _port: int) -> list[IpAddress]:
        if failing is not None:
            raise failing
        return []

    with pytest.raises(WebhookUnknownHost):
        WebhookSender(resolver).post(parse_address("https://example.org/"), HEADERS, b"{}")


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to() -> None:
    """A name that is public when it is checked and private when it is connected to cannot be: there is one moment."""
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[IpAddress]:
        asked.append(host)
        return [ipaddress.ip_address("127.0.0.1" if len(asked) == 1 else "127.0.0.2")]

    with receiver() as it:
        sender = WebhookSender(rebinding, seconds=1)
        assert post(f"http://hooks.example:{it.port}/", f"hooks.example:{it.port}", sender) == (204, "")
    assert asked == ["hooks.example"]
    assert it.received[0].headers["host"] == f"hooks.example:{it.port}"


def test_the_next_address_is_tried_when_nobody_listens_on_the_first() -> None:
    with receiver() as it:
        sender = WebhookSender(resolves("127.0.0.9", "127.0.0.1"), seconds=2)
        assert post(f"http://hooks.example:{it.port}/", f"hooks.example:{it.port}", sender) == (204, "")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of hooks.example, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    encoding = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(encoding)
    )
    return path


def served(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize(
    ("host", "error"), [("hooks.example", None), ("other.example", WebhookUnreachable)], ids=["its own", "another"]
)
def test_the_certificate_must_be_of_the_name_though_an_address_is_connected_to(
    certificate: Path, host: str, error: type[PortalError] | None
) -> None:
    sender = WebhookSender(resolves("127.0.0.1"), ssl.create_default_context(cafile=certificate), seconds=2)
    with receiver(tls=served(certificate)) as it:
        address = (f"https://{host}:{it.port}/", f"{host}:{it.port}", sender)
        if error is None:
            assert post(*address) == (204, "")
        else:
            with pytest.raises(error, match="CERTIFICATE_VERIFY_FAILED"):
                post(*address)


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    sender = WebhookSender(resolves("127.0.0.1"), seconds=2)
    with receiver(tls=served(certificate)) as it, pytest.raises(WebhookUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        post(f"https://hooks.example:{it.port}/", f"hooks.example:{it.port}", sender)
