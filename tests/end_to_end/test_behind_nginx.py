"""Debian's nginx, with the configuration that docker-compose gives it, keeps the slow and the large from the portal."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from django.conf import settings

from builds.bench import nginx
from tests.support.portal import Portal

pytestmark = pytest.mark.slow

_READS = 50
_SLOW = 300
"""More than the portal has threads."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="tee-portal-") as directory, ExitStack() as stack:
        root = Path(directory)
        counted = {"TEE_PORTAL_TRUSTED_PROXIES": "1", "TEE_PORTAL_READS_PER_MINUTE": str(_READS)}
        counted["TEE_PORTAL_WRITES_PER_MINUTE"] = "6000"
        portal = Portal(root, f"unix://{root}/no-engine", settings.MATERIAL_STORE, counted)
        portal.manage("migrate", "--verbosity", "0")
        stack.enter_context(portal.redis())
        stack.enter_context(portal.web())
        programs = nginx.programs(settings.DATA_DIR / "bench")
        yield stack.enter_context(nginx.standing_before(programs, f"127.0.0.1:{portal.port}", root))


def connected(address: str) -> socket.socket:
    parts = urlsplit(address)
    return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=10)


_HALF_A_BODY = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /api/v1/measurements/recompute HTTP/1.1\r\n" + _HALF_A_BODY,
        b"POST /api/v1/releases HTTP/1.1\r\n" + _HALF_A_BODY,
        b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nu",
        b"GET /api/v1/releases HTTP/1.1\r\nHost: loc",
    ],
    ids=["a body of a question", "a body of a release without a token", "a form", "a head"],
)
def test_hundreds_who_never_send_the_rest_keep_nobody_waiting(address: str, begun: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(_SLOW):
            slow = stack.enter_context(connected(address))
            slow.sendall(begun)
        for _ in range(10):
            assert httpx.get(f"{address}/", headers={"Host": "localhost"}, timeout=5).status_code == 200


def test_who_asks_is_counted_by_the_address_that_nginx_saw(address: str) -> None:
    """Whatever a reader says of himself: another address each time would be another reader each time."""
    first, second = (
        httpx.get(
            f"{address}/api/v1/releases?limit={n}", headers={"Host": "localhost", "X-Forwarded-For": f"192.0.2.{n}"}
        )
        for n in (1, 2)
    )
    left = [int(answer.headers["RateLimit"].split("r=")[1].split(";")[0]) for answer in (first, second)]
    assert left[1] < left[0] < _READS


def test_links_name_the_host_that_was_asked(address: str) -> None:
    answer = httpx.get(f"{address}/api/v1/", headers={"Host": "localhost:8000"})
    assert answer.status_code == 200
    assert "http://localhost:8000/" in answer.text


def test_an_address_with_the_longest_command_line_comes_through(address: str) -> None:
    answer = httpx.get(f"{address}/", params={"x": "a" * 8000}, headers={"Host": "localhost"})
    assert answer.status_code < 500
    assert answer.status_code != 414


def test_what_is_too_large_for_any_operation_is_refused_before_the_portal_sees_it(address: str) -> None:
    with suppress(httpx.WriteError):
        answer = httpx.post(
            f"{address}/api/v1/measurements/recompute", content=b" " * (18 << 20), headers={"Host": "localhost"}
        )
        assert answer.status_code == 413
    # What is not too large for all is refused by the operation, by name.
    named = httpx.post(
        f"{address}/api/v1/measurements/recompute",
        content=b" " * (2 << 20),
        headers={"Host": "localhost", "Content-Type": "application/json"},
    )
    assert (named.status_code, named.json()["code"]) == (413, "limit-exceeded")


def test_files_of_a_release_are_asked_for_a_token_before_they_are_sent(address: str) -> None:
    with connected(address) as publishing:
        publishing.sendall(
            b"POST /api/v1/releases HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 1000000000\r\n\r\n"
        )
        assert publishing.recv(20).startswith(b"HTTP/1.1 401 ")
