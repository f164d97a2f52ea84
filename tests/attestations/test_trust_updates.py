"""Refreshing a trust root through a real TUF repository on loopback: renewed, refused, and never played back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from attestations.local_sigstore import TrustDomain
from attestations.models import TrustRootRecord
from attestations.services import trust_roots
from attestations.trust_updates import TrustRootNotRefreshed, fetch_trust_root


@dataclass
class Repository:
    """A TUF repository of one target, signed by one key for every role."""

    folder: Path
    version: int = 0
    signer: CryptoSigner = field(default_factory=CryptoSigner.generate_ecdsa)
    url: str = ""

    def publish(self, content: bytes, *, lives: timedelta = timedelta(days=1)) -> None:
        self.version += 1
        expires = datetime.now(UTC).replace(microsecond=0) + lives
        (self.folder / "targets").mkdir(exist_ok=True)
        target = TargetFile.from_data("trusted_root.json", content)
        digest = target.hashes["sha256"]
        (self.folder / "targets" / f"{digest}.trusted_root.json").write_bytes(content)
        targets = Targets(version=self.version, expires=expires, targets={"trusted_root.json": target})
        self._sign(targets, f"{self.version}.targets.json")
        snapshot = Snapshot(version=self.version, expires=expires, meta={"targets.json": MetaFile(self.version)})
        self._sign(snapshot, f"{self.version}.snapshot.json")
        timestamp = Timestamp(version=self.version, expires=expires, snapshot_meta=MetaFile(self.version))
        self._sign(timestamp, "timestamp.json")

    def root(self) -> bytes:
        root = Root(version=1, expires=datetime.now(UTC).replace(microsecond=0) + timedelta(days=365))
        for role in ("root", "targets", "snapshot", "timestamp"):
            root.add_key(self.signer.public_key, role)
        return self._sign(root, "1.root.json")

    def _sign(self, signed: Root | Targets | Snapshot | Timestamp, name: str) -> bytes:
        metadata = Metadata(signed)
        metadata.sign(self.signer)
        data = metadata.to_bytes()
        (self.folder / name).write_bytes(data)
        return data


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    folder = tmp_path / "repository"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Repository(folder, url=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_current_root_is_fetched_and_an_older_one_is_not_played_back(
    repository: Repository, tmp_path: Path
) -> None:
    bootstrap = repository.root()
    repository.publish(b"first")
    kept = {path.name: path.read_bytes() for path in repository.folder.glob("*.json")}
    assert fetch_trust_root(repository.url, bootstrap, tmp_path / "state") == b"first"
    repository.publish(b"second")
    assert fetch_trust_root(repository.url, bootstrap, tmp_path / "state") == b"second"
    for name, data in kept.items():
        (repository.folder / name).write_bytes(data)
    with pytest.raises(TrustRootNotRefreshed, match="version 1 must be >= 2"):
        fetch_trust_root(repository.url, bootstrap, tmp_path / "state")


@pytest.mark.parametrize("fault", ["expired", "tampered", "foreign", "gone", "unreachable", "no address"])
def test_whatever_is_wrong_is_one_named_error(repository: Repository, tmp_path: Path, fault: str) -> None:
    bootstrap = repository.root()
    repository.publish(b"content", lives=timedelta(days=-1 if fault == "expired" else 1))
    url = {"unreachable": "http://127.0.0.1:1", "no address": "nonsense"}.get(fault, repository.url)
    if fault == "tampered":
        for path in (repository.folder / "targets").iterdir():
            path.write_bytes(b"CONTENT")
    if fault == "foreign":
        bootstrap = Repository(tmp_path).root()
    if fault == "gone":
        (repository.folder / "timestamp.json").unlink()
    with pytest.raises(TrustRootNotRefreshed):
        fetch_trust_root(url, bootstrap, tmp_path / "state")


@pytest.mark.django_db
def test_a_refreshed_root_counts_at_once_and_a_failed_refresh_keeps_the_old_one(
    repository: Repository, tmp_path: Path, settings: object, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.DATA_DIR = tmp_path  # type: ignore[attr-defined]
    first, second = TrustDomain("one").trusted_root(), TrustDomain("two").trusted_root()
    bootstrap = repository.root()
    repository.publish(second)
    trust_roots.add("own", first, "by hand", tuf_url=repository.url, tuf_root=bootstrap)
    call_command("trust_root", "refresh", "own")
    assert trust_roots.known()["own"].root.data == second
    assert trust_roots.known()["own"].refreshed_at is not None
    (repository.folder / "timestamp.json").unlink()
    with pytest.raises(CommandError, match="trust-root-not-refreshed"):
        call_command("trust_root", "refresh", "own")
    assert trust_roots.known()["own"].root.data == second
    problem = TrustRootRecord.objects.get(name="own").problem
    assert problem is not None
    assert problem["code"] == "trust-root-not-refreshed"
    call_command("trust_root", "list")
    assert "last refresh failed" in capsys.readouterr().out
