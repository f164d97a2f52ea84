"""How many distinct operators signed something, and by whose word their keys are theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from attestations.domain.summary import VerdictSummary
from builds.verify.signatures import PinnedKey, Vote


@dataclass(frozen=True, slots=True)
class Operators:
    """Whose keys are whose: by the user's names for them, and by those of the verdict that the portal signed.

    Both are by the keys' fingerprints. With ``by_word`` no more than ``most`` are counted: as many as the verdict
    signs for. ``spare`` is by how many more statements than operators an older verdict names.
    """

    yours: Mapping[str, str]
    portals: Mapping[str, str]
    by_word: bool
    most: int
    spare: int

    @classmethod
    def of(cls, pinned: Sequence[PinnedKey], verdict: VerdictSummary | None) -> Self:
        """``verdict`` is one whose signature was checked, or None."""
        counted = verdict.counted.values() if verdict is not None else ()
        yours = {entry.key.fingerprint: entry.operator for entry in pinned if entry.operator}
        portals = {entry.key: entry.operator for entry in counted if entry.key and entry.operator}
        tally = verdict.tally if verdict is not None else None
        told_apart = tally.reproduced + tally.contradicting if tally is not None else 0
        spare = 0 if portals else max(0, len(counted) - told_apart)
        return cls(yours, portals, not pinned, tally.reproduced if tally is not None else 0, spare)

    def distinct(self, votes: Iterable[Vote]) -> int:
        """How many operators signed these, at least.

        Keys are one operator's when any two names make them so, also one that nobody signed: that can make the number
        smaller, never larger. Of keys that the user gave, those count as operators of their own that the user
        names, or those that the portal names, whichever are more: a key without a name may be any of the others'.
        """
        groups: list[set[str]] = []
        keys: set[str] = set()
        for vote in votes:
            keys.add(vote.key.fingerprint)
            own = self._names(vote)
            joined = [group for group in groups if group & own]
            groups = [group for group in groups if not group & own]
            groups.append(own.union(*joined))
        if self.by_word:
            return max(0, min(len(groups), self.most, len(keys) - self.spare))
        named = [sum(any(name.startswith(word) for name in group) for group in groups) for word in (_YOURS, _PORTALS)]
        return max(*named, min(len(groups), 1))

    def _names(self, vote: Vote) -> set[str]:
        fingerprint = vote.key.fingerprint
        names = {_YOURS: self.yours.get(fingerprint), _PORTALS: self.portals.get(fingerprint), "said ": vote.operator}
        return {f"key {fingerprint}", *(f"{word}{name}" for word, name in names.items() if name)}


_YOURS = "you name "
_PORTALS = "the portal names "
