"""Which releases a list is asked for: read from an address, and what of it is no filter is told, not ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum

from builds.domain.comparison import RebuildOutcome
from builds.domain.evidence import AttestationState, MeasurementState
from builds.domain.printable import one_line
from builds.domain.verdict import Decision

NOT_YET = "not-yet"
"""As a rebuilt outcome: nobody's rebuild counts yet."""
MOST_TEXT = 200

CHOICES: Mapping[str, tuple[str, ...]] = {
    "decision": tuple(Decision),
    "outcome": (*RebuildOutcome, NOT_YET),
    "attestation": tuple(AttestationState),
    "measurement": tuple(MeasurementState),
}
_PAGING = frozenset({"before", "after"})


class Axis(StrEnum):
    """The axes of a verdict that a list can be filtered by."""

    DECISION = "decision"
    OUTCOME = "outcome"
    ATTESTATION = "attestation"
    MEASUREMENT = "measurement"


@dataclass(frozen=True, slots=True)
class Standing:
    """A verdict's four axes as words; "" for what is not known."""

    decision: str
    outcome: str
    attestation: str
    measurement: str


@dataclass(frozen=True, slots=True)
class ReleaseFilters:
    """What is asked for; empty texts and None ask for nothing. Dates are whole days in UTC, both included."""

    project: str = ""
    decision: str = ""
    outcome: str = ""
    attestation: str = ""
    measurement: str = ""
    since: date | None = None
    until: date | None = None
    text: str = ""

    @property
    def axes(self) -> dict[Axis, str]:
        """The axes that are asked for, each with its wanted state."""
        return {axis: wanted for axis in Axis if (wanted := getattr(self, axis.value))}

    @property
    def is_empty(self) -> bool:
        return self == ReleaseFilters()

    def fits(self, standing: Standing) -> bool:
        """Whether a verdict has every state that is asked for."""
        return all(
            getattr(standing, axis.value) == ("" if wanted == NOT_YET else wanted) for axis, wanted in self.axes.items()
        )

    @property
    def parameters(self) -> dict[str, str]:
        """As in an address; what asks for nothing is left out."""
        asked = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: str(value) for name, value in asked if value}


def read_filters(given: Mapping[str, str]) -> tuple[ReleaseFilters, tuple[str, ...]]:
    """The filters in an address, and a sentence for each part of it that is none; then nothing should be listed."""
    refused = [
        f"There is no filter {one_line(name, 80)!r}; there are {', '.join(_names())}."
        for name in given
        if name not in _names() and name not in _PAGING
    ]
    read: dict[str, str | date] = {}
    for name in _names():
        text = given.get(name, "").strip()
        if not text:
            continue
        value, problem = _read(name, text)
        if problem:
            refused.append(problem)
        elif value is not None:
            read[name] = value
    filters = ReleaseFilters(**read)  # type: ignore[arg-type] # each by its own field's reader
    if filters.since and filters.until and filters.since > filters.until:
        refused.append(f"No day is from {filters.since} on and until {filters.until}.")
    return filters, tuple(refused)


def _names() -> list[str]:
    return [field.name for field in fields(ReleaseFilters)]


def _read(name: str, text: str) -> tuple[str | date | None, str]:
    if name in CHOICES and text not in CHOICES[name]:
        return None, f"{name} is never {one_line(text, 80)!r}: {', '.join(CHOICES[name])}."
    if name in {"since", "until"}:
        try:
            return date.fromisoformat(text), ""
        except ValueError:
            return None, f"{name} is no day: {one_line(text, 80)!r}. Write it as 2026-01-31."
    if len(text) > MOST_TEXT:
        return None, f"{name} has {len(text)} characters; at most {MOST_TEXT} are looked for."
    return text, ""
