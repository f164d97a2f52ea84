"""Fetching an asset: the published bytes from a configured host, or a named error; against servers that lie."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from attestations.asset_http import AssetFetcher, Fetched, Hosts, Patience
from attestations.domain.internet import IpAddress
from attestations.domain.publication_errors import (
    AssetEncoded,
    AssetForeignHost,
    AssetIncomplete,
    AssetNotHttp,
    AssetNotHttps,
    AssetNotServed,
    AssetPrivateAddress,
    AssetRedirects,
    AssetTooLarge,
    AssetTooSlow,
    AssetUnavailable,
    AssetUnknownHost,
    AssetUnreachable,
)
from builds.domain.errors import PortalError
from tests.attestations.test_webhook_http import certificate, resolves, served
from tests.support.portal import free_port
from tests.support.receivers import Behaviour, Receiver, answers, by_path, drips, floods, hangs, receiver, talks

__all__ = ["certificate"]  # a fixture of this module too

BYTES = b"a kernel" * 1000
QUICK = Patience(idle=0.5, grace=0.5, bytes_per_second=1024)


def fetch(
    url: str,
    hosts: Hosts,
    directory: Path,
    fetcher: AssetFetcher | None = None,
    *,
    most: int = 100_000,
    seconds: float = 5,
) -> Fetched:
    told: list[int] = []
    fetcher = fetcher or AssetFetcher(patience=QUICK)
    got = fetcher.fetch(url, hosts, directory / "asset", most=most, until=time.monotonic() + seconds, tell=told.append)
    assert sum(told) == got.size
    return got


def loopback(*servers: Receiver) -> Hosts:
    names = frozenset(it.host for it in servers)
    return Hosts(names, names)


def fetched_from(it: Receiver, directory: Path, path: str = "/asset", *, most: int = 100_000) -> Fetched:
    return fetch(f"http://{it.host}{path}", loopback(it), directory, most=most)


def test_an_asset_is_written_as_it_is_and_nothing_about_anybody_is_sent(tmp_path: Path) -> None:
    with receiver(answers(200, BYTES)) as it:
        got = fetched_from(it, tmp_path, "/v1/vmlinuz?token=1")
    assert got == Fetched(hashlib.sha256(BYTES).hexdigest(), len(BYTES))
    assert (tmp_path / "asset").read_bytes() == BYTES
    (asked,) = it.received
    assert asked.path == "/v1/vmlinuz?token=1"
    assert asked.headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie", "referer"} & set(asked.headers)


def chunked(*chunks: bytes, whole: bool = True) -> Behaviour:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return talks(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + (b"0\r\n\r\n" if whole else b""))


def test_an_asset_in_chunks_ends_where_its_server_says(tmp_path: Path) -> None:
    with receiver(chunked(b"one", b"two")) as it:
        assert fetched_from(it, tmp_path).size == 6


def test_an_empty_asset_is_one(tmp_path: Path) -> None:
    with receiver(answers(200, b"")) as it:
        assert fetched_from(it, tmp_path, most=0) == Fetched(hashlib.sha256().hexdigest(), 0)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (talks(HEAD + b"Content-Length: 100\r\n\r\nhalf"), AssetIncomplete),
        (chunked(b"half", whole=False), AssetIncomplete),
        (talks(HEAD + b"\r\nwhole or half, who knows"), AssetIncomplete),
        (talks(HEAD + b"Content-Length: -1\r\n\r\n"), AssetNotHttp),
        (talks(HEAD + b"Content-Length: 4\r\nContent-Length: 8\r\n\r\nhalfhalf"), AssetNotHttp),
        (talks(HEAD + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n"), AssetTooLarge),
        (answers(200, b"x" * 1001), AssetTooLarge),
        (chunked(b"x" * 1001), AssetTooLarge),
        (floods, AssetIncomplete),
        (answers(200, BYTES[:100], Content_Encoding="gzip"), AssetEncoded),
        (answers(206, b"part"), AssetNotServed),
        (answers(204, b""), AssetNotServed),
        (answers(404, b""), AssetNotServed),
        (answers(403, b""), AssetNotServed),
        (answers(401, b""), AssetNotServed),
        (answers(429, b""), AssetUnavailable),
        (answers(503, b""), AssetUnavailable),
        (talks(b"SSH-2.0-OpenSSH_9.9\r\n"), AssetNotHttp),
        (talks(HEAD + b"X: " + b"a" * 300_000), AssetNotHttp),
        (hangs, AssetTooSlow),
    ],
)
def test_whatever_is_not_the_asset_itself_and_whole_is_named(
    tmp_path: Path, behaviour: Behaviour, error: type[PortalError]
) -> None:
    with receiver(behaviour) as it, pytest.raises(error) as caught:
        fetched_from(it, tmp_path, most=1000)
    assert type(caught.value) is error


def test_what_follows_the_stated_length_is_no_part_of_the_asset(tmp_path: Path) -> None:
    with receiver(talks(HEAD + b"Content-Length: 4\r\n\r\nhalf and more")) as it:
        assert fetched_from(it, tmp_path).size == 4


def drips_body(handler: BaseHTTPRequestHandler) -> None:
    """An asset of a byte now and then, each of which comes in time."""
    handler.wfile.write(HEAD + b"Content-Length: 100000\r\n\r\n")
    with suppress(OSError):
        while True:
            handler.wfile.write(b"a")
            handler.wfile.flush()
            time.sleep(0.05)


@pytest.mark.parametrize("behaviour", [drips, drips_body], ids=["headers", "body"])
def test_a_server_that_drips_is_left(tmp_path: Path, behaviour: Behaviour) -> None:
    with receiver(behaviour) as it:
        began = time.monotonic()
        with pytest.raises(AssetTooSlow):
            fetch(f"http://{it.host}/", loopback(it), tmp_path, seconds=1)
        assert time.monotonic() - began < 1.5


def test_the_time_of_a_release_is_over_for_the_next_asset_too(tmp_path: Path) -> None:
    with receiver(answers(200, BYTES)) as it, pytest.raises(AssetTooSlow):
        fetch(f"http://{it.host}/", loopback(it), tmp_path, seconds=-1)
    assert it.received == []


def leads_to(location: str, status: int = 302) -> Behaviour:
    return answers(status, b"", Location=location)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_configured_host_is_followed(tmp_path: Path, status: int) -> None:
    with receiver(answers(200, BYTES)) as other, receiver(leads_to(f"{other.url}&signed", status)) as it:
        got = fetch(f"http://{it.host}/asset", loopback(it, other), tmp_path)
    assert got.size == len(BYTES)
    assert other.received[0].path == "/hook?of=tests&signed"


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://127.0.0.1:1/", AssetNotHttps),
        ("https://127.0.0.1:1/", AssetPrivateAddress),
        ("https://169.254.169.254/latest/meta-data/", AssetPrivateAddress),
        ("https://[::ffff:127.0.0.1]/", AssetPrivateAddress),
        ("https://evil.example/", AssetForeignHost),
        ("https://localhost/", AssetPrivateAddress),
    ],
)
def test_a_redirect_that_leads_elsewhere_is_not_followed(
    tmp_path: Path, location: str, error: type[PortalError]
) -> None:
    with receiver(leads_to(location)) as it, pytest.raises(error):
        fetched_from(it, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_to_a_private_host_that_was_not_configured_is_not_connected_to(tmp_path: Path) -> None:
    with receiver(answers(200, BYTES)) as inside, receiver(leads_to(inside.url)) as it:
        with pytest.raises(AssetNotHttps):
            fetched_from(it, tmp_path)
        assert inside.received == []


def test_redirects_come_to_an_end(tmp_path: Path) -> None:
    hops = {f"/{number}": leads_to(f"/{number + 1}") for number in range(9)} | {"/3": answers(200, BYTES)}
    with receiver(by_path(hops)) as it:
        assert fetched_from(it, tmp_path, "/0").size == len(BYTES)
        assert len(it.received) == 4
    with receiver(by_path(hops | {"/3": leads_to("/0")})) as it:
        with pytest.raises(AssetRedirects):
            fetch(f"http://{it.host}/0", loopback(it), tmp_path)
        assert len(it.received) == 4


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["100.64.0.1"],
        ["169.254.169.254"],
        ["224.0.0.1"],
        ["0.0.0.0"],
        ["::1"],
        ["fe80::1"],
        ["fd00::1"],
        ["ff02::1"],
        ["::ffff:192.168.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["8.8.8.8", "127.0.0.1"],
    ],
)
def test_a_configured_name_that_leads_to_a_private_address_is_not_connected_to(
    tmp_path: Path, addresses: list[str]
) -> None:
    hosts = Hosts(frozenset({"assets.example.org:443"}))
    with pytest.raises(AssetPrivateAddress):
        fetch("https://assets.example.org/a", hosts, tmp_path, AssetFetcher(resolves(*addresses)))


def test_the_name_in_a_redirect_is_resolved_and_checked_by_itself(tmp_path: Path, certificate: Path) -> None:
    asked: list[str] = []

    def resolver(host: str, _port: int) -> list[IpAddress]:
        asked.append(host)
        return [ipaddress.ip_address("127.0.0.1")]

    with receiver(leads_to("https://assets.example.org/a"), tls=served(certificate)) as it:
        exempt = frozenset({f"hooks.example:{it.port}"})
        hosts = Hosts(exempt | {"assets.example.org:443"}, exempt)
        fetcher = AssetFetcher(resolver, ssl.create_default_context(cafile=certificate), QUICK)
        with pytest.raises(AssetPrivateAddress):
            fetch(f"https://hooks.example:{it.port}/a", hosts, tmp_path, fetcher)
    assert asked == ["hooks.example", "assets.example.org"]


def test_a_name_that_is_public_once_and_private_then_is_refused_the_second_time(tmp_path: Path) -> None:
    """One that rebinds between two assets: neither answer is kept for the other."""
    answered = iter([["127.0.0.1"], ["10.0.0.1"]])

    def rebinding(_host: str, _port: int) -> list[IpAddress]:
        return [ipaddress.ip_address(address) for address in next(answered)]

    with receiver(answers(200, BYTES)) as it:
        name = frozenset({f"assets.example:{it.port}"})
        fetcher = AssetFetcher(rebinding, patience=QUICK)
        fetch(f"http://assets.example:{it.port}/a", Hosts(name, name), tmp_path, fetcher)
        with pytest.raises(AssetPrivateAddress):
            fetch(f"https://assets.example:{it.port}/a", Hosts(name), tmp_path, fetcher)
        assert len(it.received) == 1


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(tmp_path: Path, certificate: Path) -> None:
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[IpAddress]:
        asked.append(host)
        return [ipaddress.ip_address("127.0.0.1" if len(asked) == 1 else "127.0.0.2")]

    with receiver(answers(200, BYTES), tls=served(certificate)) as it:
        name = frozenset({f"hooks.example:{it.port}"})
        fetcher = AssetFetcher(rebinding, ssl.create_default_context(cafile=certificate), QUICK)
        got = fetch(f"https://hooks.example:{it.port}/a", Hosts(name, name), tmp_path, fetcher)
    assert (got.size, asked) == (len(BYTES), ["hooks.example"])
    assert it.received[0].headers["host"] == f"hooks.example:{it.port}"


@pytest.mark.parametrize(
    ("host", "trusts"), [("other.example", True), ("hooks.example", False)], ids=["another name", "nobody vouches"]
)
def test_the_certificate_must_be_of_the_name_and_trusted(
    tmp_path: Path, certificate: Path, host: str, trusts: bool
) -> None:
    authorities = ssl.create_default_context(cafile=certificate) if trusts else ssl.create_default_context()
    with receiver(answers(200, BYTES), tls=served(certificate)) as it:
        name = frozenset({f"{host}:{it.port}"})
        fetcher = AssetFetcher(resolves("127.0.0.1"), authorities, QUICK)
        with pytest.raises(AssetUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(f"https://{host}:{it.port}/a", Hosts(name, name), tmp_path, fetcher)


def test_names_without_an_address_and_ports_without_a_listener_are_named(tmp_path: Path) -> None:
    with pytest.raises(AssetUnknownHost):
        fetch("https://a.example/", Hosts(frozenset({"a.example:443"})), tmp_path, AssetFetcher(resolves()))
    name = frozenset({f"127.0.0.1:{free_port()}"})
    with pytest.raises(AssetUnreachable):
        fetch(f"http://{next(iter(name))}/", Hosts(name, name), tmp_path)


def test_whoever_is_told_of_the_bytes_can_stop_it(tmp_path: Path) -> None:
    def stop(_size: int) -> None:
        raise PortalError("enough", where="here")

    with receiver(answers(200, BYTES)) as it, pytest.raises(PortalError, match="enough"):
        AssetFetcher().fetch(
            f"http://{it.host}/", loopback(it), tmp_path / "a", most=10**6, until=time.monotonic() + 5, tell=stop
        )
