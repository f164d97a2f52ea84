"""rebuilderd, which the benchmarks hold our rebuilders against: it works, its failures are no figures, and it stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from builds.bench import rebuilderd_peer
from builds.bench.debian_peers import PeerMissing, Programs
from builds.bench.rebuilderd_peer import Figures
from builds.bench.rebuilderd_reference import Reference

pytestmark = [pytest.mark.slow, pytest.mark.archive]


@pytest.fixture
def programs() -> Programs:
    """Of a suite that changes every day: where it does not fit any more, nothing of ours is wrong."""
    try:
        found = rebuilderd_peer.programs(settings.DATA_DIR / "bench")
        rebuilderd_peer.version(found)
    except PeerMissing as error:
        pytest.skip(str(error))
    return found


def test_it_does_its_jobs_and_is_stopped(programs: Programs, tmp_path: Path) -> None:
    assert rebuilderd_peer.version(programs).startswith("rebuilderd 0.")
    figures = rebuilderd_peer.measure(programs, tmp_path / "work", jobs=2, singles=1)
    (latency,) = figures.latencies
    assert 0 < latency < 30
    assert 0 < figures.jobs_a_minute < 600
    assert working_below(tmp_path) == []


def test_jobs_that_are_not_reproduced_are_no_figure(programs: Programs, tmp_path: Path) -> None:
    with rebuilderd_peer.daemon(programs, tmp_path / "work") as peer, peer.serving():
        (peer.work / "copy").write_text('#!/bin/sh\necho other > "$REBUILDERD_OUTDIR/kernel"\n')
        peer.queue(["other"])
        with peer.worker("worker"), pytest.raises(PeerMissing, match="ended BAD"):
            peer.finished(["other"])


def test_a_job_whose_worker_was_killed_is_still_that_workers_a_moment_later(programs: Programs, tmp_path: Path) -> None:
    with rebuilderd_peer.lost_job(programs, tmp_path / "work"):
        logs = {log.name: log.read_text() for log in (tmp_path / "work").glob("*.log")}
        assert "Starting rebuild" in logs["killed.log"]
        assert "Starting rebuild" not in logs["other.log"]
        assert working_below(tmp_path) != []
    assert working_below(tmp_path) == []


def test_the_page_says_so_when_the_archive_gives_no_rebuilderd(tmp_path: Path, settings: Any) -> None:
    settings.DEBIAN_MIRROR = "http://127.0.0.1:9/debian"
    reference = Reference()
    with reference.measured(tmp_path / "work", tmp_path / "cache"):
        assert reference.rate_row("jobs", 800.0, 1, "200") == "| jobs | **800** | - | - | 200 |"
        assert reference.lost_row("lost", 76.0, "90 s") == "| lost | **76 s** | - | - | 90 s |"
    assert reference.text().startswith("Rebuilderd was not measured: the archive gave no rebuilderd: ")


@pytest.mark.parametrize(
    ("theirs", "row"),
    [
        (500.0, "| lost | **50 s** | 500 s | 0.10 | 90 s |"),
        (None, "| lost | **50 s** | more than 900 s | less than 0.06 |"),
    ],
)
def test_rows_hold_ours_beside_what_was_measured(theirs: float | None, row: str) -> None:
    reference = Reference("rebuilderd 0.28.0", Figures(20.0, [3.0, 4.0, 2.0]), lambda: theirs)
    assert reference.latency_row("one", [1.0, 2.0, 1.5]) == (
        "| one | **1.50 s** (1.00 to 2.00) | 3.00 s (2.00 to 4.00) | 0.50 | - |"
    )
    assert reference.rate_row("one agent", 800.0, 1, "200") == "| one agent | **800** | 20.0 | 40 | 200 |"
    assert reference.rate_row("two agents", 900.0, 2, "200") == "| two agents | **900** | - | - | 200 |"
    assert reference.lost_row("lost", 50.0, "90 s").startswith(row)


def working_below(folder: Path) -> list[int]:
    """The processes whose directory lies in ``folder``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            place = (entry / "cwd").readlink()
        except OSError:
            continue  # it ended meanwhile, or is not ours
        if place.is_relative_to(folder):
            found.append(int(entry.name))
    return found
