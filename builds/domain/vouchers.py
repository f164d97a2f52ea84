"""Who vouches for a material, read out of the sentence that is stored with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# As ``builds.domain.origins.Authenticity.sentence`` writes it.
_NAMED = re.compile(
    r"^its digest is named by the signed index of (?P<suite>\S+) of (?P<date>[0-9-]+ [0-9:]+) UTC"
    r" \(InRelease (?P<release>sha256:[0-9a-f]{64}); signed by (?P<keys>[0-9A-F, ]+)\)$"
)


@dataclass(frozen=True, slots=True)
class Voucher:
    """A signed index that names digests: suite, its own date (UTC), digest of its InRelease, fingerprints of its keys.

    All but ``sentence`` are empty for a material that no index names, or that was recorded in other words.
    """

    sentence: str
    suite: str = ""
    date: str = ""
    release: str = ""
    keys: tuple[str, ...] = ()


def voucher_of(sentence: str) -> Voucher:
    found = _NAMED.match(sentence)
    if found is None:
        return Voucher(sentence)
    return Voucher(sentence, found["suite"], found["date"], found["release"], tuple(found["keys"].split(", ")))
