"""What checks of a release reach which component: measured, attested, rebuilt, made from source."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from builds.domain.consensus import Tally, component_tallies
from builds.domain.evidence import (
    COVERABLE,
    AttestationState,
    MeasurementEvidence,
    MeasurementState,
    OpaqueInput,
    ReleaseEvidence,
)
from builds.domain.marks import Mark, Marked, worst
from builds.domain.origins import OriginKind
from builds.domain.roles import BootMode, Role


class Coverage(StrEnum):
    """What a launch measurement says of one part, as pages show it."""

    COVERED = "covered"
    NOT_COVERED = "not covered"
    UNKNOWN = "unknown"
    NOT_USED = "not used by this launch configuration"


UNKNOWN = Marked(Coverage.UNKNOWN.value, Mark.UNKNOWN)
_COVERED = Marked(Coverage.COVERED.value, Mark.HOLDS)
_NOT_COVERED = Marked(Coverage.NOT_COVERED.value, Mark.BROKEN)
_NOT_USED = Marked(Coverage.NOT_USED.value, Mark.UNUSED)
ATTESTATION_MARKS = {
    AttestationState.VERIFIED: Mark.HOLDS,
    AttestationState.REJECTED: Mark.BROKEN,
    AttestationState.WRONG_IDENTITY: Mark.BROKEN,
    AttestationState.UNREADABLE: Mark.BROKEN,
    AttestationState.ABSENT: Mark.UNKNOWN,
    AttestationState.UNCHECKED: Mark.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One component, and how each check stands for it."""

    role: Role
    measured: Marked
    attested: Marked
    rebuilt: Marked
    made: Marked


def matrix_of(evidence: ReleaseEvidence, origins: Mapping[Role, Collection[OriginKind]]) -> tuple[MatrixRow, ...]:
    """A row for each published component, in the order of ``Role``.

    ``origins`` are, for each component that an operator reproduced, what operators say of its bytes' origin.
    """
    tallies, attested = component_tallies(evidence), evidence.attestation_states
    return tuple(
        MatrixRow(
            role=role,
            measured=worst([_measured(entry, role) for entry in evidence.measurements]),
            attested=Marked(attested[role].value, ATTESTATION_MARKS[attested[role]]),
            rebuilt=_rebuilt(tallies[role]),
            made=_made(role, tallies[role], origins.get(role, ()), evidence),
        )
        for role in Role
        if role in tallies
    )


def covered_parts(entry: MeasurementEvidence) -> list[tuple[str, Marked]]:
    """Every part that this configuration could bind, and whether its measurement does."""
    if not entry.coverage:
        return [(part, UNKNOWN) for part in COVERABLE]
    rows = [(part, _COVERED if part in entry.coverage else _NOT_COVERED) for part in COVERABLE]
    if Role.INITRD in entry.coverage and entry.katana_inside_initrd is not None:
        inside = Marked(f"covered inside the initrd as {entry.katana_inside_initrd}", Mark.HOLDS)
        rows.append((Role.KATANA.value, inside))
    disk = _NOT_COVERED if entry.boot_mode is BootMode.UEFI_DISK else _NOT_USED
    return [*rows, (Role.DISK.value, disk)]


def _measured(entry: MeasurementEvidence, role: Role) -> Marked:
    """Whether the measurement binds the component; a binding is worth no more than the measurement is."""
    found = dict(covered_parts(entry)).get(role)
    if found is None:
        # Only katana has no part of its own: it is bound as a file of the initrd, or by nothing.
        return UNKNOWN if not entry.coverage or Role.INITRD in entry.coverage else _NOT_COVERED
    if found.mark is not Mark.HOLDS or entry.state is MeasurementState.MATCHES:
        return found
    if entry.state is MeasurementState.DIFFERS:
        return Marked("covered, and the measurement differs", Mark.BROKEN)
    return Marked("covered, and the measurement is not confirmed", Mark.UNKNOWN)


def _rebuilt(tally: Tally) -> Marked:
    if not tally.counted:
        return Marked("not rebuilt yet", Mark.UNKNOWN)
    words = f"{tally.reproduced} of {tally.counted} reproduced it, {tally.needed} needed"
    if tally.contradicting:
        return Marked(words, Mark.BROKEN)
    return Marked(words, Mark.HOLDS if tally.reproduced >= tally.needed else Mark.UNKNOWN)


def _made(role: Role, tally: Tally, origins: Collection[OriginKind], evidence: ReleaseEvidence) -> Marked:
    """Whether its bytes come from source: known only of bytes that an operator reproduced."""
    inside = [entry for entry in evidence.opaque if _lies_in(entry, role)]
    if inside:
        waiting = [entry for entry in inside if entry.digest not in evidence.policy.accepted_opaque]
        if waiting:
            return Marked("opaque", Mark.BROKEN)
        return Marked("opaque, accepted by the policy", Mark.UNUSED)
    if not tally.reproduced or not origins:
        return UNKNOWN
    if set(origins) == {OriginKind.BUILT}:
        return Marked("built from source", Mark.HOLDS)
    if OriginKind.OPAQUE in origins:
        return Marked("opaque", Mark.BROKEN)
    return Marked("same input", Mark.UNUSED)


def _lies_in(entry: OpaqueInput, role: Role) -> bool:
    """An opaque input's place is the component itself, or a path in it after a colon."""
    return entry.place.partition(": ")[0] == role
