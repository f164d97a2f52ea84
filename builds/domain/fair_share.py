"""Which of many entries are listed, so that nobody pushes out another's by bringing many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def fair_share(entries: Iterable[tuple[int, int]], *, of_each: int, in_all: int) -> tuple[int, ...]:
    """Of ``entries``, each with its owner and in the order of preference, at most so many of each owner and in all.

    Where these are too many, every owner's first one comes before anybody's second. The order stays.
    """
    places: Counter[int] = Counter()
    ranked: list[tuple[int, int, int]] = []
    for position, (entry, owner) in enumerate(entries):
        if places[owner] < of_each:
            ranked.append((places[owner], position, entry))
        places[owner] += 1
    chosen = sorted(ranked)[:in_all]
    return tuple(entry for _, _, entry in sorted(chosen, key=lambda found: found[1]))
