"""The agent's side of HTTP, against a real server on loopback: honest, hostile and slow."""

from __future__ import annotations

import time
import tracemalloc
import zlib

import pytest

from builds.domain.job import MAX_JOB_BYTES, MalformedJob
from builds.rebuilder import portal_client
from builds.rebuilder.portal_client import EncodedAnswer, PortalAway, PortalClient
from tests.support.false_portal import FalsePortal, false_portal

NO_RELEASE = b'{"releases": [], "next": null}'


def test_a_connection_is_used_again_at_once_but_not_when_a_server_may_be_closing_it() -> None:
    with false_portal(lambda _: NO_RELEASE) as portal, PortalClient(portal.address) as client:
        for _ in range(2):
            assert list(client.releases()) == []
        assert portal.connections == 1
        time.sleep(1.2)
        assert list(client.releases()) == []
        assert portal.connections == 2


def listed(portal: FalsePortal) -> None:
    with PortalClient(portal.address) as client:
        assert list(client.releases()) == []


def compressed(body: bytes, layers: int) -> bytes:
    for _ in range(layers):
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        body = packer.compress(body) + packer.flush()
    return body


def test_answers_are_asked_for_as_they_are() -> None:
    with false_portal(lambda _: NO_RELEASE) as portal:
        listed(portal)
        assert [headers["Accept-Encoding"] for headers in portal.headers] == ["identity"]


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "identity, gzip", "GZIP", "x\x1b[31m"])
def test_a_compressed_answer_is_refused_by_name_before_it_is_unpacked(encoding: str) -> None:
    bomb = compressed(bytes(64 * 1024 * 1024), encoding.lower().count("gzip") or 1)
    with false_portal(lambda _: bomb, Content_Encoding=encoding) as portal:
        tracemalloc.start()
        try:
            with pytest.raises(EncodedAnswer, match="the answer is encoded as") as caught:
                listed(portal)
            assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
        finally:
            tracemalloc.stop()
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["identity", " Identity ", ""])
def test_an_answer_that_says_that_it_is_not_compressed_is_read(encoding: str) -> None:
    with false_portal(lambda _: NO_RELEASE, Content_Encoding=encoding) as portal:
        listed(portal)


def test_an_answer_beyond_the_bound_is_refused() -> None:
    larger = pytest.raises(MalformedJob, match=f"larger than {MAX_JOB_BYTES} bytes")
    with false_portal(lambda _: b" " * (MAX_JOB_BYTES + 1)) as portal, larger:
        listed(portal)


def test_a_portal_that_cannot_right_now_is_away_however_its_error_is_encoded() -> None:
    away = pytest.raises(PortalAway, match="the answer is 502")
    with false_portal(lambda _: b"x", status=502, Content_Encoding="gzip") as portal, away:
        listed(portal)


def test_an_answer_that_drips_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal_client, "_ANSWER_SECONDS", 1.0)
    with false_portal(lambda _: b" " * 600, drips=True) as portal:
        began = time.monotonic()
        with pytest.raises(PortalAway, match="longer than 1 seconds"):
            listed(portal)
        assert time.monotonic() - began < 10
