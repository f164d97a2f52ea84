"""The launch configuration that somebody asks about, judged by what is known of the release.

The value that a configuration gives follows from the published files alone, whether or not the publisher published
it; whether the files may be trusted is the release's verdict, and the decision needs both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import get_args

from builds.domain.command_line import objection_to
from builds.domain.conditions import Condition, ConditionState
from builds.domain.errors import PortalError
from builds.domain.evidence import COVERABLE, covers_what_boots
from builds.domain.guest_features import objection_to_features
from builds.domain.launch import LaunchConfiguration, LaunchMeasurement, Vmm
from builds.domain.roles import BootMode
from builds.domain.verdict import Decision, ReleaseVerdict

VMMS: tuple[Vmm, ...] = get_args(Vmm.__value__)
SNP_ONLY = 0x1
"""SEV_FEATURES with SNP itself and nothing else, which sev-snp-measure assumes."""

_RECOMPUTES = "configuration-recomputes"
_COVERS = "configuration-covers-what-boots"
_STARTS_INIT = "configuration-starts-the-images-init"
_COMMAND_LINE = "configuration-command-line-known"
_GUEST_FEATURES = "configuration-guest-features-known"
VOUCH = "vouch_for_command_line"
"""The form's field by which whoever asks answers for a command line that nobody published."""


class Standing(StrEnum):
    """What the value that was computed for a configuration is to what was published."""

    PUBLISHED = "published"
    FOLLOWS = "follows from the same files"
    NOT_COVERED = "not covered"
    DIFFERS = "differs from the published value"
    UNKNOWN = "not computed"


@dataclass(frozen=True, slots=True)
class WantedConfiguration:
    """What is launched: everything besides the files. ``command_line`` is "" where the firmware boots a disk."""

    launch: LaunchConfiguration
    command_line: str
    is_vouched_for: bool = False
    """Whether whoever asks answers for the command line, should nobody have published it."""

    @property
    def parameters(self) -> dict[str, str]:
        """The form's fields that ask for it again."""
        vouched = {VOUCH: "true"} if self.is_vouched_for else {}
        return {**self.values, **vouched}

    @property
    def values(self) -> dict[str, str]:
        """What the measurement depends on, by the form's fields."""
        return {
            "boot_mode": self.launch.boot_mode.value,
            "vcpus": str(self.launch.vcpus),
            "vcpu_type": self.launch.vcpu_type,
            "guest_features": f"{self.launch.guest_features:#x}",
            "vmm": self.launch.vmm,
            "command_line": self.command_line,
        }


@dataclass(frozen=True, slots=True)
class PublishedConfiguration:
    """A launch configuration with a published value, 96 hex characters, and what the published files give for it."""

    name: str
    launch: LaunchConfiguration
    command_line: str | None
    """None when nothing published names it."""
    published: str | None
    recomputed: LaunchMeasurement | None

    def is_for(self, wanted: WantedConfiguration) -> bool:
        """Whether this is what was asked about; no command line reaches a disk's kernel through the launch."""
        if self.launch != wanted.launch:
            return False
        return wanted.launch.boot_mode is BootMode.UEFI_DISK or self.command_line == wanted.command_line


@dataclass(frozen=True, slots=True)
class ConfigurationJudgement:
    """The decision about exactly one configuration, and its sentence in three parts: what for, the value, the rest."""

    standing: Standing
    decision: Decision
    subject: str
    measurement: LaunchMeasurement | None
    said: str
    unmet: tuple[Condition, ...]
    """The release's conditions that do not hold, then those of this configuration."""

    @property
    def sentence(self) -> str:
        value = f": {self.measurement.hex}" if self.measurement is not None else ""
        return f"{self.subject}{value}. {self.said}"


def judge_configuration(
    wanted: WantedConfiguration | None,
    found: LaunchMeasurement | PortalError,
    published: Sequence[PublishedConfiguration],
    verdict: ReleaseVerdict,
) -> ConfigurationJudgement:
    """The decision for one configuration: the release's verdict must allow and the value cover what boots.

    ``found`` is the measurement that the published files give for it, or why there is none; ``wanted`` is None when
    the form could not be read, which ``found`` then names.
    """
    standing = _standing(wanted, found, published)
    own = _own_conditions(standing, found, wanted, published)
    unmet = (*verdict.unmet, *own)
    allows = verdict.decision is Decision.ALLOW and not unmet
    decision = Decision.ALLOW if allows else Decision.DENY
    said = [_origin_sentence(standing, found, wanted, published)]
    if allows and wanted is not None and not _is_published_command_line(wanted, published):
        said.append(
            "Nobody but you vouches for this command line."
            if wanted.is_vouched_for
            else "Its command line differs harmlessly from a published one."
        )
    conditions = f"{len(verdict.unmet)} unmet" if verdict.unmet else "all met"
    adds = "one that is" if len(own) == 1 else f"{len(own)} that are"
    more = f"; this configuration adds {adds} not met" if own else ""
    said.append(f"Release conditions: {conditions}{more}.")
    end = "Allow." if allows else "Deny."
    said.append(f"Deny: {'; '.join(_in_short(entry) for entry in own)}." if own else end)
    measurement = None if isinstance(found, PortalError) else found
    subject = "Nothing was computed"
    if wanted is not None:
        subject = f"{'Computed' if measurement is not None else 'Not computed'} for {_described(wanted, published)}"
    return ConfigurationJudgement(
        standing=standing,
        decision=decision,
        subject=subject,
        measurement=measurement,
        said=" ".join(said),
        unmet=unmet,
    )


def differing_fields(
    wanted: WantedConfiguration, published: PublishedConfiguration, vcpu_types: Collection[str]
) -> tuple[str, ...]:
    """The fields in which a configuration is another than a published one, whatever name its CPU signature goes by.

    ``vcpu_types`` are the names that share the signature of ``wanted``.
    """
    asked, known = wanted.launch, published.launch
    differing = {
        "boot_mode": asked.boot_mode is not known.boot_mode,
        "vcpus": asked.vcpus != known.vcpus,
        "vcpu_type": known.vcpu_type not in vcpu_types,
        "guest_features": asked.guest_features != known.guest_features,
        "vmm": asked.vmm != known.vmm,
        "command_line": asked.boot_mode is known.boot_mode is BootMode.DIRECT_KERNEL
        and wanted.command_line != published.command_line,
    }
    return tuple(name for name, differs in differing.items() if differs)


def _standing(
    wanted: WantedConfiguration | None,
    found: LaunchMeasurement | PortalError,
    published: Sequence[PublishedConfiguration],
) -> Standing:
    if wanted is None or isinstance(found, PortalError):
        return Standing.UNKNOWN
    if _other_values(wanted, found, published):
        return Standing.DIFFERS
    if not covers_what_boots(wanted.launch.boot_mode, found.coverage):
        return Standing.NOT_COVERED
    return Standing.PUBLISHED if _publishing(found, published) else Standing.FOLLOWS


def _own_conditions(
    standing: Standing,
    found: LaunchMeasurement | PortalError,
    wanted: WantedConfiguration | None,
    published: Sequence[PublishedConfiguration],
) -> tuple[Condition, ...]:
    """What of this configuration does not hold: its value, or else what it is launched with."""
    value = _own_condition(standing, found)
    if value is not None:
        return (value,)
    launched_with = (_command_line_condition(wanted, published), _guest_features_condition(wanted, published))
    return tuple(condition for condition in launched_with if condition is not None)


def _own_condition(standing: Standing, found: LaunchMeasurement | PortalError) -> Condition | None:
    """What speaks against this configuration whatever the release's verdict is."""
    if isinstance(found, PortalError):
        return Condition(_RECOMPUTES, ConditionState.UNKNOWN, f"{found.what} ({found.where}).")
    if standing is Standing.DIFFERS:
        what = "The published files give another value than the publisher published for this configuration."
        return Condition(_RECOMPUTES, ConditionState.UNMET, what)
    if standing is Standing.NOT_COVERED:
        covered = ", ".join(part for part in COVERABLE if part in found.coverage) or "nothing"
        what = f"The measurement of this configuration covers only: {covered}."
        return Condition(_COVERS, ConditionState.UNMET, what)
    return None


def _in_short(own: Condition) -> str:
    """A few words for a condition of the configuration that does not hold."""
    if own.key == _RECOMPUTES:
        known = own.state is ConditionState.UNMET
        return "the published value is another one" if known else "its measurement could not be computed"
    return {
        _COVERS: "its measurement does not cover all that boots",
        _STARTS_INIT: "another program than the image's init would start",
        _COMMAND_LINE: "nobody vouches for its command line",
        _GUEST_FEATURES: "nobody published its guest features",
    }[own.key]


def _command_line_condition(
    wanted: WantedConfiguration | None, published: Sequence[PublishedConfiguration]
) -> Condition | None:
    """Against a command line that nobody published and nobody vouches for, or that replaces the image's init."""
    if wanted is None or wanted.launch.boot_mode is BootMode.UEFI_DISK:
        return None
    lines = _published_command_lines(published)
    objection = objection_to(wanted.command_line, lines, is_vouched_for=wanted.is_vouched_for)
    if objection is None:
        return None
    if objection.replaces_init:
        return Condition(_STARTS_INIT, ConditionState.UNMET, objection.sentence)
    return Condition(_COMMAND_LINE, ConditionState.UNKNOWN, objection.sentence)


def _guest_features_condition(
    wanted: WantedConfiguration | None, published: Sequence[PublishedConfiguration]
) -> Condition | None:
    """Against guest features that the release was not published with."""
    if wanted is None:
        return None
    objection = objection_to_features(
        wanted.launch.guest_features, {entry.launch.guest_features for entry in published}
    )
    return Condition(_GUEST_FEATURES, ConditionState.UNKNOWN, objection) if objection is not None else None


def _origin_sentence(
    standing: Standing,
    found: LaunchMeasurement | PortalError,
    wanted: WantedConfiguration | None,
    published: Sequence[PublishedConfiguration],
) -> str:
    """Where the value stands to what was published, and what it binds if that is not all."""
    if isinstance(found, PortalError):
        return f"{found.what[:1].upper()}{found.what[1:]} ({found.where}). {found.todo}"
    if standing is Standing.DIFFERS and wanted is not None:
        others = " and ".join(f"{value} for {name}" for name, value in _other_values(wanted, found, published))
        return f"The publisher published another value: {others}."
    names = _publishing(found, published)
    origin = (
        f"The publisher published this value for {' and '.join(names)}."
        if names
        else "The publisher did not publish this value; it follows from the same files."
    )
    if standing is not Standing.NOT_COVERED:
        return origin
    return f"{origin} It covers firmware only: another kernel, initrd, command line or disk would give the same value."


def _publishing(found: LaunchMeasurement, published: Sequence[PublishedConfiguration]) -> list[str]:
    """The published configurations whose value this is."""
    return [entry.name for entry in published if entry.published == found.hex]


def _other_values(
    wanted: WantedConfiguration, found: LaunchMeasurement, published: Sequence[PublishedConfiguration]
) -> list[tuple[str, str]]:
    """Values that were published for exactly this configuration and are not what the files give."""
    return [
        (entry.name, entry.published)
        for entry in published
        if entry.is_for(wanted) and entry.published is not None and entry.published != found.hex
    ]


def _is_published_command_line(wanted: WantedConfiguration, published: Sequence[PublishedConfiguration]) -> bool:
    return wanted.command_line in _published_command_lines(published)


def _published_command_lines(published: Sequence[PublishedConfiguration]) -> list[str]:
    return [
        entry.command_line
        for entry in published
        if entry.launch.boot_mode is BootMode.DIRECT_KERNEL and entry.command_line is not None
    ]


def _described(wanted: WantedConfiguration, published: Sequence[PublishedConfiguration]) -> str:
    """What is unusual about it, and how many processors of which kind."""
    launch = wanted.launch
    if launch.boot_mode is BootMode.UEFI_DISK:
        boots = "firmware that boots a disk"
    elif _is_published_command_line(wanted, published):
        boots = "the published command line"
    else:
        boots = "your command line" if wanted.command_line else "an empty command line"
    parts = [boots, f"{launch.vcpus} vCPU{'' if launch.vcpus == 1 else 's'}", launch.vcpu_type]
    if launch.guest_features != SNP_ONLY:
        parts.append(f"guest features {launch.guest_features:#x}")
    if launch.vmm != VMMS[0]:
        parts.append(launch.vmm)
    return ", ".join(parts)
