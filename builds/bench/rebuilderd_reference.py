"""The rows that hold our rebuilders' figures beside rebuilderd's, and what they say where it cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from builds.bench import rebuilderd_peer as peer
from builds.domain.errors import PortalError

_TEXT = """\
The reference is {version} of Debian sid in its standard settings, run beside ours with as small a build; every job
of it was reproduced. Its jobs are queued while its worker is awake: one that finds nothing to do sleeps for minutes,
and the rest of such a sleep is part of the time until another has the killed worker's job."""


@dataclass(slots=True)
class Reference:
    """What was measured of rebuilderd. ``lost`` waits for its killed worker's job; ``notes`` say what is missing."""

    version: str | None = None
    figures: peer.Figures | None = None
    lost: Callable[[], float | None] | None = None
    notes: list[str] = field(default_factory=list)

    def latency_row(self, what: str, ours: Sequence[float]) -> str:
        """``ours`` in seconds, like rebuilderd's."""
        mine = f"**{median(ours):.2f} s** {_range(ours)}"
        if self.figures is None:
            return _row(what, mine, "-", "-", "-")
        theirs = self.figures.latencies
        reference = f"{median(theirs):.2f} s {_range(theirs)}"
        return _row(what, mine, reference, f"{median(ours) / median(theirs):.2f}", "-")

    def rate_row(self, what: str, ours: float, workers: int, bound: str) -> str:
        """``ours`` in jobs a minute of as many ``workers``; rebuilderd is measured with one."""
        if self.figures is None or workers != 1:
            return _row(what, f"**{ours:.0f}**", "-", "-", bound)
        theirs = self.figures.jobs_a_minute
        return _row(what, f"**{ours:.0f}**", f"{theirs:.1f}", f"{ours / theirs:.0f}", bound)

    def lost_row(self, what: str, ours: float, bound: str) -> str:
        """``ours`` in seconds. Waits for rebuilderd's."""
        mine = f"**{ours:.0f} s**"
        if self.lost is None:
            return _row(what, mine, "-", "-", bound)
        try:
            theirs = self.lost()
        except PortalError as error:
            self._missing("its killed worker's job", error)
            return _row(what, mine, "-", "-", bound)
        if theirs is None:
            limit = peer.LOST_SECONDS
            return _row(what, mine, f"more than {limit:.0f} s", f"less than {ours / limit:.2f}", bound)
        return _row(what, mine, f"{theirs:.0f} s", f"{ours / theirs:.2f}", bound)

    def text(self) -> str:
        """What the reference is, and what of it is missing, as a paragraph each."""
        told = [_TEXT.format(version=self.version)] if self.figures is not None else []
        return "\n\n".join([*told, *self.notes])

    @contextmanager
    def measured(self, work: Path, cache: Path) -> Iterator[None]:
        """Measure one worker, then kill another one and leave its job waiting while this is entered."""
        with ExitStack() as stack:
            try:
                programs = peer.programs(cache)
                self.version = peer.version(programs)
                self.lost = stack.enter_context(peer.lost_job(programs, work / "lost"))
                self.figures = peer.measure(programs, work / "measured")
            except PortalError as error:
                self._missing("rebuilderd" if self.version is None else "part of rebuilderd", error)
            yield

    def _missing(self, what: str, error: PortalError) -> None:
        self.notes.append(f"{what[0].upper()}{what[1:]} was not measured: {error.what}.")


def _range(seconds: Sequence[float]) -> str:
    return f"({min(seconds):.2f} to {max(seconds):.2f})"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
