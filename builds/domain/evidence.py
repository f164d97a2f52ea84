"""What a verdict is derived from: pure, frozen values, each axis with its own states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from builds.domain.comparison import ComponentComparison, PublishedComponent, RebuildOutcome
from builds.domain.digest import Digest
from builds.domain.roles import BootMode, Role


class MeasurementState(StrEnum):
    """Whether a launch measurement as published, recomputed and rebuilt is one and the same."""

    MATCHES = "matches"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


class AttestationState(StrEnum):
    """Who published a component, as far as signatures say."""

    VERIFIED = "verified"
    REJECTED = "rejected"
    WRONG_IDENTITY = "wrong-identity"
    ABSENT = "absent"
    UNREADABLE = "unreadable"
    UNCHECKED = "unchecked"


_MOST_ALARMING_FIRST = (
    AttestationState.WRONG_IDENTITY,
    AttestationState.REJECTED,
    AttestationState.UNREADABLE,
    AttestationState.ABSENT,
    AttestationState.UNCHECKED,
    AttestationState.VERIFIED,
)


def worst_attestation(states: Iterable[AttestationState]) -> AttestationState | None:
    """One state for several components: ``verified`` only when all are; None when there is none."""
    return min(states, key=_MOST_ALARMING_FIRST.index, default=None)


@dataclass(frozen=True, slots=True)
class AttestedComponent:
    """A component's attestation state, and the sentence that says why."""

    state: AttestationState
    sentence: str


# What a launch measurement can bind, in the order of pages: three files and the command line.
COVERABLE = ("ovmf", "kernel", "initrd", "cmdline")


def judge_measurement(published: str | None, recomputed: str | None, rebuilt: str | None) -> MeasurementState:
    """``matches`` only when all three are known and equal; two known unequal values already differ."""
    known = {value for value in (published, recomputed, rebuilt) if value is not None}
    if len(known) > 1:
        return MeasurementState.DIFFERS
    if None in (published, recomputed, rebuilt):
        return MeasurementState.UNKNOWN
    return MeasurementState.MATCHES


def covers_what_boots(boot_mode: BootMode, coverage: frozenset[str]) -> bool:
    """Whether a measurement with this coverage binds every part that is booted that way."""
    needed = set(COVERABLE) if boot_mode is BootMode.DIRECT_KERNEL else {*COVERABLE, Role.DISK.value}
    return needed <= coverage


def worst_measurement(states: Iterable[MeasurementState]) -> MeasurementState | None:
    """One state for several launch configurations: ``matches`` only when all do; None when there is none."""
    order = (MeasurementState.DIFFERS, MeasurementState.UNKNOWN, MeasurementState.MATCHES)
    return min(states, key=order.index, default=None)


@dataclass(frozen=True, slots=True)
class MeasurementEvidence:
    """One launch configuration's measurement, 96 hex characters each or None when not known."""

    configuration: str
    boot_mode: BootMode
    published: str | None
    recomputed: str | None
    rebuilt: str | None
    coverage: frozenset[str]
    """What it binds; empty while nobody could recompute it, because no measurement binds nothing."""
    katana_inside_initrd: str | None
    """Where in the reproduced initrd the reproduced binary lies; None when nothing has shown that."""
    not_covered: tuple[str, ...] = ()
    """What no measurement of this configuration binds, in the recipe's words."""

    @property
    def state(self) -> MeasurementState:
        return judge_measurement(self.published, self.recomputed, self.rebuilt)

    @property
    def covers_what_it_boots(self) -> bool:
        """Whether every part this configuration boots is bound by the measurement."""
        return covers_what_boots(self.boot_mode, self.coverage)


@dataclass(frozen=True, slots=True)
class PublisherEvidence:
    """What is known of a release's publication besides its files, told by who checks signatures and watches forges."""

    attestations: Mapping[Role, AttestedComponent] = field(default_factory=dict)
    unwatched: str = ""
    """Since when nobody could tell whether the publication changed, as a sentence; empty while somebody can."""


@dataclass(frozen=True, slots=True)
class OpaqueInput:
    """An input nobody rebuilt: where it is in the release, its digest and why it is opaque."""

    place: str
    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class OperatorResult:
    """The newest result of one operator, and why it is no evidence ("" when it is)."""

    operator: str
    comparisons: tuple[ComponentComparison, ...]
    outcome: RebuildOutcome | None
    opaque: tuple[OpaqueInput, ...]
    not_counted: str = ""
    environment: Mapping[str, str | int] = field(default_factory=dict)
    copied: frozenset[Role] = frozenset()
    """Components whose bytes are those of an input: taken as is, not built."""

    @property
    def counts(self) -> bool:
        return not self.not_counted

    @property
    def differing(self) -> list[str]:
        """Each component that was not reproduced, with its outcome."""
        return [f"{row.role} {row.outcome}" for row in self.comparisons if row.outcome is not RebuildOutcome.REPRODUCED]


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """Why a rebuild ended without a result, in the failure's own words: where it stopped, and what happened."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What the project asks for: ``k`` distinct operators, and opaque inputs accepted by digest."""

    needed_operators: int
    accepted_opaque: frozenset[Digest]


@dataclass(frozen=True, slots=True)
class ReleaseEvidence:
    """Everything a verdict is derived from."""

    commit: str
    components: tuple[PublishedComponent, ...]
    contradictions: tuple[str, ...]
    absent: tuple[str, ...]
    attestations: Mapping[Role, AttestedComponent]
    results: tuple[OperatorResult, ...]
    measurements: tuple[MeasurementEvidence, ...]
    policy: Policy
    unplaced: tuple[str, ...] = ()
    """Sentences about published measurements of which nothing says what they were computed for."""
    embedded: tuple[OpaqueInput, ...] = ()
    """What is opaque before anybody rebuilds: published files that no rebuild has made, a base image that is pulled."""
    base_unnamed: bool = False
    """Its recipe pulls a base image, and which one is not known here."""
    changes: tuple[str, ...] = ()
    """What was published differently after it was first seen; it denies until judged anew."""
    unwatched: str = ""
    """As in ``PublisherEvidence``: whether it changed is unknown."""
    failed: int = 0
    """Operators whose newest attempt failed and who have no result."""
    failure: BuildFailure | None = None
    """The newest failure of an operator whose results would count."""
    first_difference: str = ""
    """Where operators differ, or differ from the publisher: the first file by path of which that is known."""
    first_result_expected: datetime | None = None
    """When a rebuild that runs is expected to end (UTC); None while nobody can tell."""

    @property
    def counted(self) -> list[OperatorResult]:
        """The results that say something about reproducing."""
        return [result for result in self.results if result.counts and result.outcome is not None]

    @property
    def opaque(self) -> list[OpaqueInput]:
        """What lies in the publication and what counting rebuilds found, each once, by place."""
        found = [*self.embedded, *(entry for result in self.counted for entry in result.opaque)]
        # Operators may give other reasons for one input; the first one's stands.
        once = {(entry.place, entry.digest): entry for entry in reversed(found)}
        return [once[key] for key in sorted(once)]

    @property
    def attestation_states(self) -> dict[Role, AttestationState]:
        """The state of every published component; one that nobody looked at is unchecked."""
        return {
            component.role: found.state
            if (found := self.attestations.get(component.role))
            else AttestationState.UNCHECKED
            for component in self.components
        }
