"""Mirrors as directories: served as any web server does, and read whole from their checkpoint on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

from attestations.domain.mirror import (
    CHECKPOINT_FILE,
    ChangeFeed,
    ChangePage,
    Checkpoint,
    MeasurementsDocument,
    MeasurementShard,
    Node,
    Ref,
    ReleaseDocument,
    ReleaseShard,
    Root,
    Tree,
    parse,
)
from builds.pipeline.signing import VerifyingKey
from builds.verify.walking import read_root, signed_checkpoint
from tests.support.loopback import LoopbackServer


class Reader:
    """Everything that a checkpoint leads to; an object that is missing or another is a failure."""

    def __init__(self, directory: Path, key: VerifyingKey) -> None:
        self.directory = directory
        self.paths: set[str] = set()
        self.checkpoint, _ = signed_checkpoint((directory / CHECKPOINT_FILE).read_bytes(), key, where="test")
        self.root: Root = read_root(self.checkpoint, self.document)
        self.shards = list(self._leaves(ReleaseShard, self.root.releases))
        self.measurements = list(self._leaves(MeasurementShard, self.root.measurements))
        self.feed = parse(ChangeFeed, self.document(self.root.changes))
        self.pages = [parse(ChangePage, self.document(ref)) for ref in self.feed.pages]
        self.releases = {
            f"{entry.project}/{entry.tag}": parse(ReleaseDocument, self.document(entry.document))
            for shard in self.shards
            for entry in shard.releases
        }
        self.series = {
            name: parse(MeasurementsDocument, self.document(held.measurements))
            for name, held in self.releases.items()
            if held.measurements is not None
        }
        for held in self.releases.values():
            for file in held.files:
                self._read(file.ref, file.ref.blob_path)

    def document(self, ref: Ref) -> bytes:
        return self._read(ref, ref.index_path)

    def _read(self, ref: Ref, path: str) -> bytes:
        data = (self.directory / path).read_bytes()
        assert Ref.to(data) == ref, path
        self.paths.add(path)
        return data

    def _leaves[Shard: (ReleaseShard, MeasurementShard)](self, kind: type[Shard], tree: Tree) -> Iterator[Shard]:
        levels = {0: 0, 2: 1}.get(tree.digits, 2)
        found = [tree.top]
        for _ in range(levels):
            found = [child.ref for ref in found for child in parse(Node, self.document(ref)).children]
        for ref in found:
            yield parse(kind, self.document(ref))


def checkpoint_of(directory: Path, key: VerifyingKey) -> Checkpoint:
    return signed_checkpoint((directory / CHECKPOINT_FILE).read_bytes(), key, where="test")[0]


def objects(directory: Path) -> dict[str, bytes]:
    """Every object that lies there, named or not, by its path."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for place in ("index", "blobs")
        for path in sorted((directory / place).rglob("*"))
        if path.is_file()
    }


class _Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A body does not wait until its headers were acknowledged.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it
        """Nothing: the test's output is the test's."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()


class MirrorServer(LoopbackServer):
    def __init__(self, directory: Path) -> None:
        super().__init__(partial(_Quiet, directory=str(directory)))
        self.asked: list[str] = []


@contextmanager
def served(directory: Path) -> Iterator[MirrorServer]:
    with MirrorServer(directory) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
