"""An operator's key shown where only it can write: real answers over HTTP and git, honest and hostile."""

from __future__ import annotations

import gzip
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builds.domain.errors import PortalError
from builds.domain.requests import ProofKind
from builds.pipeline import proof
from builds.pipeline.proof import PROOF_PATH, ProofNotShown, check_proof, proof_place, proof_tag
from builds.pipeline.signing import digest_name
from builds.pipeline.source import SourceUnreachable
from tests.support.git_server import git_server

FINGERPRINT = "ab" * 32
NAME = digest_name(FINGERPRINT)
OTHER = digest_name("cd" * 32)

type Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def domain(answer: Answer) -> Iterator[str]:
    """A web server that answers every question alike; its host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked.append(self.path)  # type: ignore[attr-defined]
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
        assert set(server.asked) <= {PROOF_PATH}  # type: ignore[attr-defined]


def says(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def checked(answer: Answer, name: str = NAME) -> str:
    with domain(answer) as location:
        return check_proof(ProofKind.DOMAIN, location, name, FINGERPRINT, scheme="http")


@pytest.mark.parametrize(
    "body",
    [
        NAME.encode(),
        f"our keys\r\n{OTHER}\r\n  {NAME}  \r\n".encode(),
        b"\xff\xfe\n" + NAME.encode() + b"\n\x00",
    ],
)
def test_a_line_with_the_keys_name_on_the_domain_is_a_proof(body: bytes) -> None:
    assert checked(says(body)).endswith("/.well-known/tee-portal-rebuilder.txt names its key")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        OTHER.encode(),
        f"{NAME}x".encode(),
        f"not {NAME}".encode(),
        NAME.upper().encode(),
        NAME.encode().replace(b":", b"\n", 1),
        b"x" * 70_000 + b"\n" + NAME.encode(),
    ],
)
def test_a_file_without_that_very_line_is_none(body: bytes) -> None:
    with pytest.raises(ProofNotShown, match="no line there is ni:///sha-256;"):
        checked(says(body))


@pytest.mark.parametrize("status", [204, 301, 302, 308, 401, 404, 500])
def test_only_a_plain_answer_of_the_domain_itself_counts(status: int) -> None:
    with domain(says(NAME.encode())) as elsewhere:
        redirect = says(NAME.encode(), status, Location=f"http://{elsewhere}{PROOF_PATH}")
        with pytest.raises(ProofNotShown, match=f"the answer is {status}"):
            checked(redirect)


def test_a_compressed_answer_is_read_and_a_bomb_is_not_unpacked() -> None:
    good = gzip.compress(NAME.encode())
    assert checked(says(good, Content_Encoding="gzip"))
    bomb = zlib.compress(b"x" * 200_000_000 + b"\n" + NAME.encode(), 9)
    began = time.monotonic()
    with pytest.raises(ProofNotShown, match="no line"):
        checked(says(bomb, Content_Encoding="deflate"))
    assert time.monotonic() - began < 10


def test_what_is_not_compressed_as_it_says_is_a_named_error() -> None:
    with pytest.raises(ProofNotShown, match="no answer: ContentDecodingError"):
        checked(says(b"no gzip", Content_Encoding="gzip"))


def test_an_answer_that_breaks_off_is_a_named_error() -> None:
    with pytest.raises(ProofNotShown, match="no answer: ChunkedEncodingError"):
        checked(says(b"short", Content_Length="1000"))


def test_an_answer_that_drips_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "_SECONDS", 1.0)
    stopped = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "60000")
        handler.end_headers()
        while not stopped.wait(0.2):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return

    began = time.monotonic()
    try:
        with pytest.raises(ProofNotShown, match="longer than 1 seconds"):
            checked(drip)
    finally:
        stopped.set()
    assert time.monotonic() - began < 10


def test_a_domain_that_does_not_answer_is_a_named_error() -> None:
    with pytest.raises(ProofNotShown, match="no answer: ConnectionError"):
        check_proof(ProofKind.DOMAIN, "127.0.0.1:1", NAME, FINGERPRINT, scheme="http")


def repository(folder: Path, *tags: str) -> str:
    folder.mkdir()

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.invalid", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "x")
    for tag in tags:
        git("tag", tag)
    return f"file://{folder}"


def test_a_tag_named_after_the_key_in_the_repository_is_a_proof(tmp_path: Path) -> None:
    location = repository(tmp_path / "source", "v1", proof_tag(FINGERPRINT))
    said = check_proof(ProofKind.REPOSITORY, location, NAME, FINGERPRINT)
    assert said == f"{location} has a tag that names its key"


def test_a_repository_without_that_tag_or_with_a_longer_one_is_none(tmp_path: Path) -> None:
    longer = repository(tmp_path / "source", f"{proof_tag(FINGERPRINT)}-not", f"x/{proof_tag(FINGERPRINT)}")
    with pytest.raises(ProofNotShown, match=f"there is no tag {proof_tag(FINGERPRINT)}"):
        check_proof(ProofKind.REPOSITORY, longer, NAME, FINGERPRINT)


def test_a_tag_that_a_repository_only_redirects_to_is_none() -> None:
    with git_server("a" * 40, proof_tag(FINGERPRINT)) as address:
        assert check_proof(ProofKind.REPOSITORY, f"{address}here", NAME, FINGERPRINT)
        with pytest.raises(SourceUnreachable, match=r"redirect|302"):
            check_proof(ProofKind.REPOSITORY, f"{address}moved/here", NAME, FINGERPRINT)


@pytest.mark.parametrize("location", ["file:///nowhere", "ext::sh -c 'touch pwned'", "--upload-pack=touch pwned"])
def test_a_repository_that_is_none_is_a_named_error_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceUnreachable):
        check_proof(ProofKind.REPOSITORY, location, NAME, FINGERPRINT)
    assert not list(tmp_path.iterdir())


def test_the_place_is_said_in_words_that_a_person_can_follow() -> None:
    assert proof_place(ProofKind.DOMAIN, "example.org", FINGERPRINT) == (
        "a line with the key's name in https://example.org/.well-known/tee-portal-rebuilder.txt"
    )
    assert proof_place(ProofKind.REPOSITORY, "https://example.org/r", FINGERPRINT) == (
        f"a tag named tee-portal-rebuilder-{FINGERPRINT} in https://example.org/r"
    )
    assert issubclass(ProofNotShown, PortalError)
