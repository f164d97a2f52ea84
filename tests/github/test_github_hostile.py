"""The GitHub client against an API, a storage and a network that mean harm: only named errors escape, and no token."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import traceback
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attestations.domain.github_errors import (
    ForeignAddress,
    GitHubUnavailable,
    NotFoundOnGitHub,
    UnexpectedAnswer,
)
from attestations.domain.github_payloads import GitHubAsset
from attestations.github import GitHub
from builds.demo.github_server import GitHubServer, Origin
from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded, PortalError
from tests.github.conftest import DIGEST, MIB, REPOSITORY, TOKEN, Asked, Connect, RawServer, peak_memory_below


def attested(*entries: object) -> bytes:
    return json.dumps({"attestations": entries}).encode()


def at(url: str) -> bytes:
    """A page with one bundle at an address."""
    return attested({"bundle": None, "bundle_url": url})


NOT_AS_DOCUMENTED = [
    b"",
    b"null",
    b"7",
    b'"text"',
    b"[[]]",
    b'{"id": 1',
    b'{"id": NaN}',
    b'{"id": 1, "id": 2}',
    b'{"id": true, "full_name": "a/b", "owner": {"id": 1}}',
    b'{"id": "1", "full_name": "a/b", "owner": {"id": 1}}',
    b'{"id": 1, "full_name": "a", "owner": {"id": 1}}',
    b'{"id": 1, "full_name": "a/b", "owner": []}',
    b'{"id": 1, "full_name": "a/b", "owner": {"id": -1}}',
    b'{"id": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b"\xff\xfe{\x00}\x00",
]


@pytest.mark.parametrize("body", NOT_AS_DOCUMENTED, ids=range(len(NOT_AS_DOCUMENTED)))
def test_an_answer_of_another_shape_is_named(server: GitHubServer, github: GitHub, body: bytes) -> None:
    questions: list[Callable[[], object]] = [
        lambda: github.repository(REPOSITORY),
        lambda: list(github.releases(REPOSITORY)),
        lambda: github.release_by_tag(REPOSITORY, "v1"),
        lambda: github.tag_commit(REPOSITORY, "v1"),
        lambda: github.attestations(REPOSITORY, DIGEST, None),
    ]
    for question in questions:
        server.fail_next(HTTPStatus.OK, {"ETag": '"x"'}, body=body)
        with pytest.raises(UnexpectedAnswer):
            question()
    assert github.repository(REPOSITORY).id == 4711, "nothing of it was kept"


@pytest.mark.parametrize(
    "change",
    [
        {"published_at": "2026-03-04T05:06:07"},
        {"published_at": "yesterday"},
        {"published_at": None},
        {"published_at": "0001-01-01T00:00:00+23:00"},
        {"assets": {}},
        {"tag_name": "v1\ud800"},
        {"tag_name": "another"},
    ],
)
def test_a_release_that_contradicts_its_documentation_is_named(
    server: GitHubServer, github: GitHub, change: dict[str, object]
) -> None:
    release = {"id": 1, "tag_name": "v1", "published_at": "2026-03-04T05:06:07Z", "prerelease": False}
    body = json.dumps({**release, "html_url": "https://github.com/", "assets": [], **change}).encode()
    server.fail_next(HTTPStatus.OK, body=body)
    with pytest.raises(UnexpectedAnswer):
        github.release_by_tag(REPOSITORY, "v1")


@pytest.mark.parametrize("digest", ["sha256:abc", "sha512:" + "a" * 128, "a" * 64, "", 7])
def test_an_asset_digest_that_is_no_sha256_is_named(server: GitHubServer, github: GitHub, digest: object) -> None:
    files = {"id": 1, "name": "f", "size": 1, "url": "", "browser_download_url": "", "state": "uploaded"}
    release = {"id": 1, "tag_name": "v1", "published_at": "2026-03-04T05:06:07Z", "prerelease": False, "html_url": ""}
    body = json.dumps([{**release, "assets": [{**files, "digest": digest}]}]).encode()
    server.fail_next(HTTPStatus.OK, body=body)
    with pytest.raises(UnexpectedAnswer, match="digest"):
        list(github.releases(REPOSITORY))


@pytest.mark.parametrize(
    "entry",
    [
        b'{"bundle": {"a": 1, "a": 2}}',
        b'{"bundle": {"a": 0.1000000000000000000001}}',
        b'{"bundle": {"a": "\\ud800"}}',
        b'{"bundle": [], "bundle_url": "https://example.org/"}',
        b'{"bundle": null, "bundle_url": ""}',
        b"{}",
        b"null",
    ],
)
def test_a_bundle_that_would_not_come_back_whole_is_refused(server: GitHubServer, github: GitHub, entry: bytes) -> None:
    server.fail_next(HTTPStatus.OK, body=b'{"attestations": [' + entry + b"]}")
    with pytest.raises(UnexpectedAnswer):
        github.attestations(REPOSITORY, DIGEST, None)


def test_an_inline_bundle_keeps_its_order_and_characters(server: GitHubServer, github: GitHub) -> None:
    server.fail_next(HTTPStatus.OK, body='{"attestations":[{"bundle":{"z": 1, "a": ["\\u00e9", "é\\n"]}}]}'.encode())
    assert github.attestations(REPOSITORY, DIGEST, None).bundles == ('{"z":1,"a":["é","é\\n"]}'.encode(),)


def test_a_gzipped_answer_is_read(server: GitHubServer, github: GitHub) -> None:
    body = gzip.compress(b'{"id": 1, "full_name": "a/b", "owner": {"id": 2}}')
    server.fail_next(HTTPStatus.OK, {"Content-Encoding": "gzip"}, body=body)
    assert github.repository(REPOSITORY).owner_id == 2


def test_a_gzip_bomb_is_cut_off_where_the_limit_is(server: GitHubServer, connect: Connect) -> None:
    github = connect(server.url(), max_response_bytes=MIB).github
    bomb = gzip.compress(bytes(300 * MIB), compresslevel=9)
    server.fail_next(HTTPStatus.OK, {"Content-Encoding": "gzip"}, body=bomb)
    with peak_memory_below(16 * MIB), pytest.raises(LimitExceeded, match="longer than"):
        github.repository(REPOSITORY)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "deflate", "zstd", "x"])
def test_an_encoding_nobody_asked_for_is_refused(server: GitHubServer, github: GitHub, encoding: str) -> None:
    server.fail_next(HTTPStatus.OK, {"Content-Encoding": encoding}, body=gzip.compress(gzip.compress(b"{}")))
    with pytest.raises(UnexpectedAnswer, match="encoding"):
        github.repository(REPOSITORY)


@pytest.mark.parametrize("body", [b"", b"not gzip", gzip.compress(b"{}" * 99)[:-9], gzip.compress(b"{}") + b"more"])
def test_broken_compression_is_named(server: GitHubServer, github: GitHub, body: bytes) -> None:
    server.fail_next(HTTPStatus.OK, {"Content-Encoding": "gzip"}, body=body)
    with pytest.raises(UnexpectedAnswer, match="compression"):
        github.repository(REPOSITORY)
    server.fail_next(HTTPStatus.FORBIDDEN, {"Content-Encoding": "gzip"}, body=body)
    with pytest.raises(PortalError):
        github.repository(REPOSITORY)


def test_an_answer_longer_than_the_limit_is_refused(server: GitHubServer, connect: Connect) -> None:
    server.fail_next(HTTPStatus.OK, body=b" " * 1001)
    with pytest.raises(LimitExceeded, match="1000"):
        connect(server.url(), max_response_bytes=1000).github.repository(REPOSITORY)


def test_a_body_shorter_than_its_content_length_is_no_answer(server: GitHubServer, github: GitHub) -> None:
    server.fail_next(HTTPStatus.OK, {"Content-Length": "999"}, times=3, body=b"{}")
    with pytest.raises(GitHubUnavailable, match="RemoteProtocolError"):
        github.repository(REPOSITORY)


def test_a_body_longer_than_its_content_length_is_not_read_on(server: GitHubServer, github: GitHub) -> None:
    whole = b'{"id": 1, "full_name": "a/b", "owner": {"id": 2}}'
    server.fail_next(HTTPStatus.OK, {"Content-Length": str(len(whole))}, body=whole + b"HTTP/1.1 200 OK\r\n\r\n")
    assert github.repository(REPOSITORY).id == 1


def test_silence_is_an_outage(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = connect(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1, attempts=2)
        with pytest.raises(GitHubUnavailable, match=r"within 0\.1 seconds"):
            asked.github.repository(REPOSITORY)
    assert asked.slept == [1.0]


def test_an_answer_that_drips_is_given_up(server: GitHubServer, connect: Connect) -> None:
    asked = connect(server.url(), answer_timeout=0.0)
    with pytest.raises(GitHubUnavailable, match="too slowly"):
        asked.github.repository(REPOSITORY)
    assert asked.slept == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_in_a_circle_end(server: GitHubServer, github: GitHub, status: int) -> None:
    server.fail_next(status, {"Location": "/repos/acme/enclave"}, times=50)
    with pytest.raises(UnexpectedAnswer, match="redirects"):
        github.repository(REPOSITORY)
    assert len(server.requests) == 6


ELSEWHERE = [
    "https://example.org/",
    "//example.org/x",
    "http://user:pw@127.0.0.1/",
    "http://127.0.0.1:1/",
    "file:///etc/passwd",
    "http://[::1",
    "http://127.0.0.1:99999999/",
    "https://xn--a/",
    "https://\u00e9\ud7ff.example/".encode().decode("latin-1"),
    "https:///",
    "javascript:alert(1)",
    "http://" + "a" * 70_000,
]


@pytest.mark.parametrize("address", ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_the_api_may_neither_redirect_nor_page_to_elsewhere(server: GitHubServer, github: GitHub, address: str) -> None:
    server.fail_next(HTTPStatus.FOUND, {"Location": address})
    with pytest.raises(UnexpectedAnswer):
        list(github.releases(REPOSITORY))
    server.fail_next(HTTPStatus.OK, {"Link": f'<{address}>; rel="next"'}, body=b"[]")
    with pytest.raises(UnexpectedAnswer):
        list(github.releases(REPOSITORY))
    server.fail_next(HTTPStatus.OK, {"Link": f'<{address}>; rel="next"'}, body=b'{"attestations": []}')
    with pytest.raises(UnexpectedAnswer):
        github.attestations(REPOSITORY, DIGEST, None)
    assert len(server.requests) == 3


def test_a_next_page_at_the_storage_is_elsewhere(server: GitHubServer, github: GitHub) -> None:
    server.fail_next(HTTPStatus.OK, {"Link": f'<{server.url(Origin.STORAGE)}/x>; rel="next"'}, body=b"[]")
    with pytest.raises(ForeignAddress):
        list(github.releases(REPOSITORY))
    assert server.asked(Origin.STORAGE) == []


@pytest.mark.parametrize("address", ["http://example.org/", "ftp://127.0.0.1/", "http://10.0.0.1/", "data:,x"])
def test_a_file_or_bundle_is_not_fetched_in_clear(
    server: GitHubServer, github: GitHub, asset: GitHubAsset, tmp_path: Path, address: str
) -> None:
    server.fail_next(HTTPStatus.FOUND, {"Location": address})
    with pytest.raises(ForeignAddress):
        github.download(asset, tmp_path / "file")
    server.fail_next(HTTPStatus.OK, body=at(address))
    with pytest.raises(ForeignAddress):
        github.attestations(REPOSITORY, DIGEST, None)


def test_the_token_does_not_come_back_after_it_was_left_behind(
    server: GitHubServer, github: GitHub, asset: GitHubAsset, tmp_path: Path
) -> None:
    server.fail_next(HTTPStatus.FOUND, {"Location": f"{server.url(Origin.STORAGE)}/x"})
    server.fail_next(HTTPStatus.FOUND, {"Location": f"{server.url()}/back"}, origin=Origin.STORAGE)
    with pytest.raises(NotFoundOnGitHub):
        github.download(asset, tmp_path / "file")
    assert [request.authorized for request in server.requests[1:]] == [True, False, False]


def test_an_asset_address_of_another_host_never_sees_the_token(
    server: GitHubServer, github: GitHub, asset: GitHubAsset, tmp_path: Path
) -> None:
    elsewhere = asset.model_copy(update={"url": f"{server.url(Origin.STORAGE)}/assets/{asset.id}"})
    github.download(elsewhere, tmp_path / "file")
    assert [request.authorized for request in server.asked(Origin.STORAGE)] == [False]


def test_a_bundle_address_at_the_api_itself_sees_no_token(server: GitHubServer, github: GitHub) -> None:
    server.fail_next(HTTPStatus.OK, body=at(f"{server.url()}/user"))
    with pytest.raises(NotFoundOnGitHub):
        github.attestations(REPOSITORY, DIGEST, None)
    assert [request.authorized for request in server.requests] == [True, False]


def test_over_https_a_file_is_followed_to_another_host_without_the_token(connect: Connect, tmp_path: Path) -> None:
    """The one case that loopback cannot show: real hosts and https, answered by a transport in memory."""
    seen: list[tuple[str, bool]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, "authorization" in request.headers))
        if request.url.host == "api.github.com":
            return httpx.Response(302, headers={"Location": "https://release-assets.githubusercontent.com/x?sig=1"})
        if request.url.path == "/x":
            return httpx.Response(302, headers={"Location": "http://127.0.0.1/x"})
        return httpx.Response(404)

    asked = connect("https://api.github.com", transport=httpx.MockTransport(answer))
    url = "https://api.github.com/repos/a/b/releases/assets/1"
    file = GitHubAsset(id=1, name="f", size=1, url=url, browser_download_url="", state="uploaded")
    with pytest.raises(ForeignAddress, match="not https"):
        asked.github.download(file, tmp_path / "f")
    assert seen == [("api.github.com", True), ("release-assets.githubusercontent.com", False)]


def test_neither_errors_nor_logs_hold_the_token(
    server: GitHubServer, asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = TOKEN.encode()
    answers: list[tuple[int, dict[str, str], bytes]] = [
        (401, {"WWW-Authenticate": TOKEN}, echo),
        (403, {}, echo),
        (200, {}, b'{"' + echo + b'": 1, "' + echo + b'": 2}'),
        (200, {}, b'{"full_name": "' + echo + b'", "id": 1, "owner": {"id": 1}}'),
        (302, {"Location": f"https://example.org/{TOKEN}"}, b""),
        (302, {"Location": f"https://example.org/{'a' * 270}{TOKEN}"}, b""),
        (302, {"Location": f"/{TOKEN}"}, b""),
        (200, {"Content-Encoding": TOKEN}, b"x"),
    ]
    for status, headers, body in answers:
        server.fail_next(status, headers, body=body)
        with pytest.raises(PortalError) as caught:
            asked.github.repository(REPOSITORY)
        assert TOKEN[:8] not in "".join(traceback.format_exception(caught.value)) + repr(caught.value.as_dict())
    assert TOKEN not in caplog.text


HEADERS = [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: ", b"HTTP/1.1 200 OK\r\nLink: <"]
HEADERS += [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b", b"HTTP/1.1 403 Forbidden\r\nRetry-After: "]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(start=st.sampled_from(HEADERS), rest=st.binary(max_size=300))
def test_whatever_bytes_come_only_named_errors_escape(
    raw: RawServer, connect: Connect, tmp_path: Path, start: bytes, rest: bytes
) -> None:
    raw.answer = start + rest
    github = connect(raw.url, attempts=1, timeout=2.0).github
    url = f"{raw.url}/file"
    file = GitHubAsset(id=1, name="f", size=1, digest=None, url=url, browser_download_url="", state="uploaded")
    questions: list[Callable[[], object]] = [
        lambda: github.repository(REPOSITORY),
        lambda: list(github.releases(REPOSITORY)),
        lambda: github.attestations(REPOSITORY, Digest.sha256("0" * 64), None),
        lambda: github.download(file, tmp_path / "f"),
    ]
    for question in questions:
        try:
            question()
        except PortalError as error:
            assert TOKEN not in str(error)
    github.close()
