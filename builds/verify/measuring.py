"""Launch measurements, recomputed from the user's own files and held against what was published and signed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from attestations.domain.mirror import MeasurementsDocument
from builds.domain.command_line import objection_to
from builds.domain.configuration import SNP_ONLY
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.evidence import covers_what_boots
from builds.domain.guest_features import objection_to_features
from builds.domain.launch import LaunchConfiguration, LaunchMeasurement, coverage_of
from builds.domain.recipe import MAX_COMMAND_LINE_BYTES
from builds.domain.roles import BootMode, Role
from builds.pipeline.measurement import MeasurementInputs, measure
from builds.pipeline.published_release import MissingFile, PublishedRelease
from builds.verify.findings import YOU, Finding, State
from builds.verify.launches import DOCUMENTS, Agreed, Launched, once, signed_launches, stated_launch
from builds.verify.signatures import Vote

_AXIS = "measurement"
_VALUE = re.compile("[0-9a-f]{96}", re.ASCII)


class NoMeasurement(MalformedInput):
    """Text that is no launch measurement."""

    code: ClassVar[str] = "no-measurement"
    default_todo: ClassVar[str] = "Give 48 bytes in hexadecimal, as a report or snpguest prints them."


class LaunchUnknown(PortalError):
    """Nobody says how the machine is launched."""

    code: ClassVar[str] = "launch-unknown"
    default_todo: ClassVar[str] = "Give --command-line, --vcpus and --vcpu-type as the machine is started."


@dataclass(frozen=True, slots=True)
class WantedLaunch:
    """What the user said of the launch; None where nothing was said."""

    command_line: str | None = None
    vcpus: int | None = None
    vcpu_type: str | None = None
    guest_features: int | None = None
    is_vouched_for: bool = False
    """Whether the user answers for a command line that nobody published."""

    @property
    def is_given(self) -> bool:
        """Whether anything of a launch was said; vouching for a command line names none."""
        return any(part is not None for part in (self.command_line, self.vcpus, self.vcpu_type, self.guest_features))


def parse_value(text: str) -> str:
    """A launch measurement as it may be pasted: with 0x, colons, spaces or in upper case. Raises ``NoMeasurement``."""
    value = re.sub(r"[\s:]", "", text).lower().removeprefix("0x")
    if not _VALUE.fullmatch(value):
        raise NoMeasurement(f"{text[:120]!r} is not 96 hexadecimal characters", where="measurement")
    return value


def recompute(release: PublishedRelease, launched: Launched) -> LaunchMeasurement:
    """The measurement of the user's own files; raises what ``MeasurementCalculator`` does and ``MissingFile``."""
    paths = {role: asset.path for role, asset in release.assets.items() if asset.problem is None}
    ovmf, kernel, initrd = (paths.get(role) for role in (Role.OVMF, Role.KERNEL, Role.INITRD))
    direct = launched.configuration.boot_mode is BootMode.DIRECT_KERNEL
    if ovmf is None or (direct and (kernel is None or initrd is None)):
        raise MissingFile(
            "firmware, kernel or initrd is not in the directory, or too large to be measured",
            where="launch measurement",
        )
    inputs = MeasurementInputs(ovmf, kernel, initrd, launched.command_line) if direct else MeasurementInputs(ovmf)
    return measure(inputs, launched.configuration)


def check_measurements(release: PublishedRelease, agreed: Agreed, wanted: WantedLaunch) -> list[Finding]:
    """A finding for each value that was published or signed, and before them one for the launch that the user gave.

    What the user asks of a launch takes nothing away: documents that the files do not give were changed all the same.
    """
    asked = _Asked.about(release, agreed, wanted) if wanted.is_given else None
    found = [asked.finding] if asked is not None else []
    found += [_check(release, launched) for launched in agreed.by_enough]
    found += [_by_few(launched, agreed) for launched in agreed.by_few]
    found += _stated(release, agreed, asked)
    # What is only noted decides nothing: without one value that was checked this axis was not.
    if {finding.state for finding in found}.isdisjoint({State.OK, State.UNCHECKED}):
        what = "measured any launch" if agreed.by_enough else "signed any launch"
        reason = f"Not as many rebuilders as are needed {what}: give --command-line, --vcpus, --vcpu-type."
        found.append(Finding(_AXIS, State.UNCHECKED, reason, "nobody"))
    return found


def _by_few(launched: Launched, agreed: Agreed) -> Finding:
    """What fewer operators signed than are needed decides nothing, unless it contradicts what enough signed."""
    other = next((entry for entry in agreed.by_enough if entry.is_like(launched)), None)
    value = launched.value or "that it could not be measured"
    if other is not None and launched.value is not None:
        reason = f"It is signed {value}, and by more operators {other.value}, for {launched.words}."
        return Finding(_AXIS, State.FAILED, reason, launched.said_by)
    reason = f"Too few operators signed {value} to rely on it, for {launched.words}."
    return Finding(_AXIS, State.NOTED, reason, launched.said_by)


def _stated(release: PublishedRelease, agreed: Agreed, asked: _Asked | None) -> list[Finding]:
    """Against a value of the user's documents that the files do not give, or that nobody signed for its launch.

    A value that says nothing of its launch is one that the files give for the launch that the user vouches for.
    """
    if release.measurement is None:
        return []
    value, stated = release.measurement.value, stated_launch(release)
    if stated is None:
        if value in {entry.value for entry in agreed.by_enough} or (asked is not None and asked.gives(value)):
            return []
        reason = f"Nothing says what the published {value} is for."
        return [Finding(_AXIS, State.UNCHECKED, reason, DOCUMENTS)]
    checked = _check(release, stated)
    if checked.state is not State.OK:
        return [checked]
    if any(entry.is_like(stated) for entry in agreed.by_enough):
        return []
    reason = f"Not enough rebuilders signed anything for the launch that the documents name: {stated.words}."
    return [Finding(_AXIS, State.UNCHECKED, reason, DOCUMENTS)]


def contradicted(release: PublishedRelease, against: Iterable[Vote]) -> list[Finding]:
    """A finding for each value that rebuilders of other bytes signed and the user's files do not give."""
    signed = once(launched for vote in against for launched in signed_launches(vote).launches)
    checked = [_check(release, launched) for launched in signed if launched.value is not None]
    return [finding for finding in checked if finding.state is State.FAILED]


def _check(release: PublishedRelease, launched: Launched) -> Finding:
    if launched.value is None:
        return Finding(_AXIS, State.NOTED, f"Not measured: {launched.words}.", launched.said_by)
    try:
        mine = recompute(release, launched)
    except PortalError as error:
        return Finding(_AXIS, State.UNCHECKED, f"{error} For {launched.words}.", YOU)
    if mine.hex != launched.value:
        reason = f"Your files give {mine.hex}, not {launched.value}, for {launched.words}."
        return Finding(_AXIS, State.FAILED, reason, launched.said_by)
    return _covering(mine, f"{mine.hex} for {launched.words}.", launched.said_by)


def gives(release: PublishedRelease, agreed: Agreed, wanted: WantedLaunch, value: str) -> Finding:
    """Whether the user's files give this value, for the launch that was given or any that enough rebuilders signed."""
    tried = agreed.by_enough
    if wanted.is_given or not tried:
        try:
            tried = (_own_launch(agreed, wanted),)
        except PortalError as error:
            return Finding(_AXIS, State.UNCHECKED, str(error), YOU)
    problem: PortalError | None = None
    for launched in tried:
        try:
            mine = recompute(release, launched)
        except PortalError as error:
            problem = error
            continue
        if mine.hex != value:
            continue
        if launched.value not in {None, value}:
            reason = f"Your files give it, and it is signed {launched.value}, for {launched.words}."
            return Finding(_AXIS, State.FAILED, reason, launched.said_by)
        reason = f"Your files give it for {launched.words}."
        return _objected(launched, agreed, wanted) or _covering(mine, reason, YOU)
    if problem is not None:
        return Finding(_AXIS, State.UNCHECKED, str(problem), YOU)
    reason = f"Your files give {value} for none of: {'; '.join(launched.words for launched in tried)}."
    return Finding(_AXIS, State.FAILED, reason, YOU)


def signed_for(agreed: Agreed, value: str) -> Finding:
    """Which launch as many rebuilders as are needed signed this value for."""
    for launched in agreed.by_enough:
        if launched.value == value:
            boots = launched.configuration.boot_mode
            # A rebuilder measures a kernel only with firmware that binds it (docs/predicates/rebuild-v1.md).
            covered = coverage_of(boots, kernel_hashes=boots is BootMode.DIRECT_KERNEL)
            mine = LaunchMeasurement(value, boots, covered)
            return _covering(mine, f"Signed for {launched.words}.", launched.said_by)
    for launched in agreed.by_few:
        if launched.value == value:
            reason = f"Too few operators signed it to rely on it, for {launched.words}."
            return Finding(_AXIS, State.FAILED, reason, launched.said_by)
    signed = "; ".join(entry.words for entry in agreed.by_enough) or "nothing"
    reason = (
        f"No rebuilder that counts signed {value}, which is no mismatch; signed were: {signed}."
        " Give --files to compute it for another launch."
    )
    return Finding(_AXIS, State.UNCHECKED, reason, "nobody")


def computed_for(measured: MeasurementsDocument, agreed: Agreed, value: str) -> Finding | None:
    """For which launch the portal computed this value from the published files; None when for none that it indexed.

    It computes for the launches of the project's other releases too, whatever they are worth. So it is allowed only for
    a command line that enough rebuilders signed for this release, or that differs harmlessly from one, and for guest
    features that they signed.
    """
    for series in measured.series:
        vcpus = series.vcpus_of(value)
        if vcpus is None:
            continue
        direct = series.boot_mode is BootMode.DIRECT_KERNEL
        line = f", command line {series.command_line!r}" if direct else ""
        words = (
            f"{series.boot_mode.value}, {vcpus} vCPUs, {' or '.join(series.vcpu_types)}, "
            f"guest features {series.guest_features:#x}, {series.vmm}{line}"
        )
        reason = f"Nobody signed it by itself; the portal computed it from the published files, for {words}."
        unknown = objection_to_features(series.guest_features, agreed.guest_features) if agreed.by_enough else None
        if unknown is not None:
            return Finding(_AXIS, State.FAILED, f"{reason} {unknown}", "the portal")
        if direct and (objected := _computed_with(series.command_line, agreed, reason)) is not None:
            return objected
        # The portal computes one with a kernel only for firmware that binds it.
        covered = coverage_of(series.boot_mode, kernel_hashes=direct)
        return _covering(LaunchMeasurement(value, series.boot_mode, covered), reason, "the portal")
    return None


def _computed_with(command_line: str, agreed: Agreed, reason: str) -> Finding | None:
    """Against a command line that nobody signed for this release."""
    objection = objection_to(command_line, agreed.command_lines, is_vouched_for=False)
    if objection is not None and (agreed.command_lines or objection.replaces_init):
        return Finding(_AXIS, State.FAILED, f"{reason} {objection.sentence}", "the portal")
    if agreed.command_lines:
        return None
    unknown = "Not enough rebuilders signed any command line of this release to hold it against."
    return Finding(_AXIS, State.UNCHECKED, f"{reason} {unknown}", "nobody")


def _own_launch(agreed: Agreed, wanted: WantedLaunch) -> Launched:
    """The user's own launch: what is not said of it stands as the first one that enough signed has it.

    Raises ``LaunchUnknown``, and ``MalformedInput`` for what cannot be launched.
    """
    base = agreed.by_enough[0] if agreed.by_enough else None
    command_line = wanted.command_line if wanted.command_line is not None else base.command_line if base else None
    if command_line is None:
        raise LaunchUnknown("nobody whose word counts names the command line", where="--command-line")
    if len(command_line.encode()) > MAX_COMMAND_LINE_BYTES:
        raise LaunchUnknown(f"it has more than {MAX_COMMAND_LINE_BYTES} bytes", where="--command-line")
    usual = base.configuration if base else LaunchConfiguration(BootMode.DIRECT_KERNEL, 1, "EPYC-v4", SNP_ONLY, "qemu")
    features = wanted.guest_features if wanted.guest_features is not None else usual.guest_features
    vcpus, vcpu_type = wanted.vcpus or usual.vcpus, wanted.vcpu_type or usual.vcpu_type
    made = LaunchConfiguration(usual.boot_mode, vcpus, vcpu_type, features, usual.vmm)
    return Launched(made, command_line, None, YOU)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What came of the user's own launch; ``value`` is "" where it could not be computed."""

    finding: Finding
    value: str

    @classmethod
    def about(cls, release: PublishedRelease, agreed: Agreed, wanted: WantedLaunch) -> Self:
        try:
            launched = _own_launch(agreed, wanted)
            mine = recompute(release, launched)
        except PortalError as error:
            return cls(Finding(_AXIS, State.UNCHECKED, str(error), YOU), "")
        return cls(_own_finding(mine, launched, agreed, wanted), mine.hex)

    def gives(self, value: str) -> bool:
        return self.finding.state is State.OK and self.value == value


def _own_finding(mine: LaunchMeasurement, launched: Launched, agreed: Agreed, wanted: WantedLaunch) -> Finding:
    same = [entry for entry in agreed.by_enough if entry.is_like(launched)]
    other = next((entry for entry in same if entry.value not in {None, mine.hex}), None)
    if other is not None:
        reason = f"Your files give {mine.hex}, not {other.value}, for {launched.words}."
        return Finding(_AXIS, State.FAILED, reason, other.said_by)
    if (objected := _objected(launched, agreed, wanted)) is not None:
        return objected
    confirmed = any(entry.value == mine.hex for entry in agreed.by_enough)
    origin = "Signed for this launch." if confirmed else "Not signed; it follows from the same files."
    return _covering(mine, f"{mine.hex} for {launched.words}. {origin}", YOU)


def _objected(launched: Launched, agreed: Agreed, wanted: WantedLaunch) -> Finding | None:
    """Against guest features that too few signed, and a command line that replaces the image's init, or that too few
    signed and nobody vouches for.
    """
    unknown = objection_to_features(launched.configuration.guest_features, agreed.guest_features)
    if unknown is not None:
        return Finding(_AXIS, State.FAILED, unknown, YOU)
    if launched.configuration.boot_mode is not BootMode.DIRECT_KERNEL:
        return None
    objection = objection_to(launched.command_line, agreed.command_lines, is_vouched_for=wanted.is_vouched_for)
    if objection is None:
        return None
    advice = "" if objection.replaces_init else " Give --vouch-for-command-line if you know what it does."
    return Finding(_AXIS, State.FAILED, objection.sentence + advice, YOU)


def _covering(mine: LaunchMeasurement, reason: str, said_by: str) -> Finding:
    if covers_what_boots(mine.boot_mode, mine.coverage):
        return Finding(_AXIS, State.OK, reason, said_by)
    covered = ", ".join(sorted(mine.coverage))
    return Finding(_AXIS, State.FAILED, f"It covers only {covered}, not all that boots: {reason}", said_by)
