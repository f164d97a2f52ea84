"""Taking times in turn, so that a ratio holds when the machine's speed drifts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from builds.domain.errors import PortalError

_WAIT_SECONDS = 300.0


@dataclass(frozen=True)
class Pair:
    """Seconds of ours and of the reference, run by run in turn."""

    ours: list[float]
    reference: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(a / b for a, b in zip(self.ours, self.reference, strict=True))

    def row(self, what: str, bound: str) -> str:
        ours, reference = statistics.median(self.ours), statistics.median(self.reference)
        spread = [a / b for a, b in zip(self.ours, self.reference, strict=True)]
        return (
            f"| {what} | {ours:.2f} s | {reference:.2f} s | **{self.ratio:.3f}** "
            f"({min(spread):.3f} to {max(spread):.3f}) | {bound} |"
        )


def in_turn(ours: Callable[[], float], reference: Callable[[], float], pairs: int) -> Pair:
    """A warm-up of each, then A B A B ..."""
    ours()
    reference()
    measured = [(ours(), reference()) for _ in range(pairs)]
    return Pair([pair[0] for pair in measured], [pair[1] for pair in measured])


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def until(what: str, look: Callable[[], bool], *, pause: float = 0.5, seconds: float = _WAIT_SECONDS) -> None:
    """Ask ``look`` every ``pause`` seconds until it is true; ``PortalError`` naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise PortalError(f"waited {seconds:.0f} s for {what}", where="benchmark")
        time.sleep(pause)
