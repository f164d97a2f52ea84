"""rebuilderd with ten thousand packages and their rebuilds: one that it really did, its rows repeated."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from builds.bench.debian_peers import PeerMissing, Programs
from builds.bench.rebuilderd_peer import Daemon, again, daemon

PACKAGES = 10_000
_FILE = "rebuilderd.db"
# By table, the columns that are another thing's key or name in each copy. Keys of copies follow one another: those of
# the first package are 1 in every table.
_COPIED = {
    "source_packages": {"name": "'package-' || n"},
    "build_inputs": {"source_package_id": "n", "url": "url || n"},
    "build_logs": {},
    "attestation_logs": {},
    "rebuilds": {"build_input_id": "n", "build_log_id": "n"},
    "rebuild_artifacts": {"rebuild_id": "n", "attestation_log_id": "n", "name": "'package-' || n"},
    "binary_packages": {
        "source_package_id": "n",
        "build_input_id": "n",
        "name": "'package-' || n",
        "artifact_url": "artifact_url || n",
    },
}


@contextmanager
def serving(programs: Programs, work: Path) -> Iterator[Daemon]:
    """It runs in ``work`` and answers about ``PACKAGES`` packages; ``PeerMissing`` when its tables are other ones."""
    with daemon(programs, work) as peer, peer.serving():
        peer.queue(["package-1"])
        with peer.worker("worker"):
            peer.finished(["package-1"])
    _repeat(work / _FILE)
    with again(peer):
        if peer.total() != PACKAGES:
            raise PeerMissing(f"it counts {peer.total()} builds instead of {PACKAGES}", where="rebuilderd")
        yield peer


def _repeat(file: Path) -> None:
    try:
        with closing(sqlite3.connect(file)) as connection, connection:
            for table, changed in _COPIED.items():
                named = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
                wanted = ", ".join(changed.get(name, f'"{name}"') for name in named)
                listed = ", ".join(f'"{name}"' for name in named)
                connection.execute(
                    "WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"  # noqa: S608
                    f" INSERT INTO {table} (id, {listed})"
                    f" SELECT n, {wanted} FROM {table}, numbers WHERE {table}.id = 1",
                    [PACKAGES],
                )
    except sqlite3.Error as error:
        raise PeerMissing(f"its tables are other ones: {error}", where="rebuilderd") from error
