"""A loopback GitHub, a client of it that never really sleeps, and a server that answers raw bytes."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import tracemalloc
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from attestations.domain.github_payloads import GitHubAsset
from attestations.domain.repository import Repository
from attestations.github import GitHub, GitHubSettings
from builds.demo.github_server import GitHubServer, PublishedRelease, RepositoryDescription, StoredBundle
from builds.domain.digest import Digest

MIB = 1024 * 1024
REPOSITORY = Repository("acme", "enclave")
TOKEN = "ghp_a-secret-that-nobody-may-see"
WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PROVENANCE = "https://slsa.dev/provenance/v1"
DIGEST = Digest.sha256(hashlib.sha256(b"initrd").hexdigest())


def bundle(name: str = "a", predicate_type: str = PROVENANCE) -> bytes:
    """Something in a bundle's outer shape."""
    statement = json.dumps({"predicateType": predicate_type, "name": name}).encode()
    envelope = {"payload": b64encode(statement).decode(), "payloadType": "application/vnd.in-toto+json"}
    return json.dumps({"dsseEnvelope": envelope}, separators=(",", ":")).encode()


@dataclass
class Asked:
    """A client of ``server`` and the seconds it wanted to sleep."""

    github: GitHub
    slept: list[float]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two files to release."""
    root = tmp_path / "published"
    root.mkdir()
    for name, content in {"initrd": b"initrd", "disk.raw": b"\x00disk" * 100_000}.items():
        (root / name).write_bytes(content)
    return {path.name: path for path in root.iterdir()}


@pytest.fixture
def description(files: dict[str, Path]) -> RepositoryDescription:
    releases = [
        PublishedRelease("v1.0.0", "1" * 40, WHEN, files, annotated=True),
        PublishedRelease("node/v2+snp.1", "2" * 40, WHEN + timedelta(days=1), {}, prerelease=True, immutable=True),
        PublishedRelease("v3-draft", "3" * 40, WHEN + timedelta(days=2), {}, draft=True),
    ]
    held = {DIGEST: [StoredBundle(bundle("inline")), StoredBundle(bundle("stored"), "snappy-url")]}
    return RepositoryDescription(REPOSITORY, 4711, 42, releases, held)


@pytest.fixture
def server(description: RepositoryDescription) -> Iterator[GitHubServer]:
    with GitHubServer(description, token=TOKEN) as server:
        yield server


type Connect = Callable[..., Asked]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients of an address; keyword arguments are settings, or ``etags`` and ``transport``."""
    with ExitStack() as stack:

        def make(base_url: str, *, etags: object = None, transport: object = None, **settings: object) -> Asked:
            slept: list[float] = []
            chosen = replace(GitHubSettings(token=SecretStr(TOKEN), timeout=5.0), base_url=base_url, **settings)
            github = stack.enter_context(
                GitHub(chosen, etags, transport=transport, clock=lambda: WHEN, sleep=slept.append)
            )
            return Asked(github, slept)

        yield make


@pytest.fixture
def asked(server: GitHubServer, connect: Connect) -> Asked:
    return connect(server.url())


@pytest.fixture
def github(asked: Asked) -> GitHub:
    return asked.github


@dataclass
class RawServer:
    """Answers every connection with ``answer`` as it is, then closes it."""

    answer: bytes = b""
    received: list[bytes] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def run(self) -> Iterator[RawServer]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
            thread.start()
            yield self
            self.answer = b""
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                self.received.append(connection.recv(65536))
                try:
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)
                except OSError:
                    continue


@pytest.fixture
def raw() -> Iterator[RawServer]:
    with RawServer().run() as server:
        yield server


@contextmanager
def peak_memory_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.fixture
def asset(github: GitHub) -> GitHubAsset:
    return next(a for a in github.release_by_tag(REPOSITORY, "v1.0.0").assets if a.name == "initrd")
