"""What another launch measurement does to data that was sealed under the old one.

A guest asks its processor for a key by SNP_GET_DERIVED_KEY (SEV Secure Nested Paging Firmware ABI, MSG_KEY_REQ).
With MEASUREMENT among the selected fields the key follows from the launch measurement, so that another measurement
gives another key; nothing gives the old one back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from builds.domain.evidence import COVERABLE
from builds.domain.likeness import Likeness, Row, likeness
from builds.domain.roles import Role


class Sealing(StrEnum):
    """Whether data sealed under one release opens under the other, started by the same launch configuration."""

    CLOSED = "sealed data will not open"
    OPENS = "sealed data opens"
    FIRMWARE_ONLY = "sealed data opens for any kernel"
    NOT_COMPARABLE = "not comparable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LaunchFacts:
    """One release's launch configuration with its measurement (96 hex characters, None where not known)."""

    name: str
    boot_mode: str
    vcpus: int
    vcpu_type: str
    guest_features: int
    vmm: str
    command_line: str | None
    """None: nothing names it."""
    published: str | None
    recomputed: str | None
    rebuilt: str | None
    coverage: frozenset[str]
    """What the measurement binds; empty while nobody could recompute it."""

    @property
    def machine(self) -> tuple[str, int, str, int, str]:
        """What a measurement depends on besides files and command line."""
        return (self.boot_mode, self.vcpus, self.vcpu_type, self.guest_features, self.vmm)

    @property
    def value(self) -> str | None:
        """What a processor measures: recomputed from the published files; what is only claimed where it cannot be."""
        return self.recomputed or self.published

    @property
    def covers_the_kernel(self) -> bool:
        return set(COVERABLE) <= self.coverage


@dataclass(frozen=True, slots=True)
class LaunchChange:
    """A launch configuration of one release beside that of another; one is None where the other release has none.

    ``booted`` is how what it boots beside the firmware stands: the same, changed, or unknown.
    """

    before: LaunchFacts | None
    after: LaunchFacts | None
    booted: Likeness

    @property
    def name(self) -> str:
        names = dict.fromkeys(side.name for side in (self.before, self.after) if side is not None)
        return " / ".join(names)

    @property
    def likeness(self) -> Likeness:
        if self.before is None:
            return Likeness.ADDED
        if self.after is None:
            return Likeness.REMOVED
        found = {row.likeness for row in self.values}
        return next((word for word in (Likeness.CHANGED, Likeness.UNKNOWN) if word in found), Likeness.SAME)

    @property
    def values(self) -> tuple[Row, ...]:
        """Each value of the configuration beside the other's."""
        return tuple(
            Row(name, _said(self.before, attribute), _said(self.after, attribute)) for name, attribute in _VALUES
        )

    @property
    def measurements(self) -> tuple[Row, ...]:
        return tuple(
            Row(name, _said(self.before, attribute), _said(self.after, attribute)) for name, attribute in _MEASURED
        )

    @property
    def sealing(self) -> Sealing:
        before, after = self.before, self.after
        if before is None or after is None or before.machine != after.machine:
            return Sealing.NOT_COMPARABLE
        same = likeness(before.value, after.value)
        if same is Likeness.UNKNOWN:
            return Sealing.UNKNOWN
        if same is Likeness.CHANGED:
            return Sealing.CLOSED
        if before.recomputed is None or after.recomputed is None:
            return Sealing.UNKNOWN
        return Sealing.OPENS if before.covers_the_kernel and after.covers_the_kernel else Sealing.FIRMWARE_ONLY


_VALUES = (
    ("Boot mode", "boot_mode"),
    ("vCPUs", "vcpus"),
    ("vCPU type", "vcpu_type"),
    ("Guest features", "guest_features"),
    ("VMM", "vmm"),
    ("Command line", "command_line"),
)
_MEASURED = (("As published", "published"), ("Recomputed", "recomputed"), ("Rebuilt", "rebuilt"))


def _said(side: LaunchFacts | None, attribute: str) -> str | None:
    value = getattr(side, attribute) if side is not None else None
    return None if value is None else str(value)


BOOTED = (Role.KERNEL, Role.INITRD)
"""The components that a direct-kernel launch boots beside its firmware."""


def consequence(change: LaunchChange, before: str, after: str) -> str:
    """What becomes of sealed data between the releases tagged ``before`` and ``after``, in sentences."""
    match change.sealing:
        case Sealing.CLOSED:
            return (
                f"The launch measurement of {change.name} differs, so data that a guest of {before} sealed with a key"
                f" derived from its launch measurement will not open under {after}, nor the other way round. Before you"
                f" go from one to the other, unseal it under the old one and hand it over (through an attested channel,"
                " or to a key broker that accepts both measurements). Keys that were derived without the measurement"
                " are not affected, nor is what a broker releases by a policy that names both."
            )
        case Sealing.OPENS:
            return (
                f"The launch measurement of {change.name} is the same, and covers firmware, kernel, initrd and command"
                f" line: data sealed under {before} opens under {after} on the same processor, as far as its key"
                " follows from the measurement. A key that also follows from the guest's policy, TCB version or the"
                " like needs these to be the same too."
            )
        case Sealing.FIRMWARE_ONLY:
            return _firmware_only(change, before, after)
        case Sealing.NOT_COMPARABLE:
            return _not_comparable(change, before, after)
        case Sealing.UNKNOWN:
            return (
                f"Whether data sealed under {before} opens under {after} is unknown: the launch measurement of"
                f" {change.name} could not be recomputed from the published files of both. Do not count on it."
            )


def _firmware_only(change: LaunchChange, before: str, after: str) -> str:
    booted = {
        Likeness.SAME: "Kernel, initrd and command line are the same here",
        Likeness.CHANGED: "Kernel, initrd or command line changed, and the measurement did not",
    }.get(change.booted, "Whether kernel, initrd and command line are the same is unknown")
    return (
        f"The launch measurement of {change.name} is the same, and covers the firmware only. {booted}. Data sealed"
        f" under {before} opens under {after}, and under any other kernel, initrd or command line that somebody starts"
        " with this firmware: the key protects it from none of them. Seal nothing under this measurement."
    )


def _not_comparable(change: LaunchChange, before: str, after: str) -> str:
    if change.before is None or change.after is None:
        has, lacks = (after, before) if change.before is None else (before, after)
        return (
            f"Only {has} has a launch configuration {change.name}; {lacks} has none to hold its measurement against."
            f" Data sealed under one configuration does not open under another with another measurement."
        )
    return (
        f"The launch configuration {change.name} itself is another in {after} than in {before}, so that their"
        " measurements are not comparable. A guest that is started with other values has another measurement whatever"
        " its files are, and other sealing keys."
    )
