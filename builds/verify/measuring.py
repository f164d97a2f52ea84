"""Launch measurements, recomputed from the user's own files and held against what was published and signed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from attestations.domain.mirror import MeasurementsDocument
from builds.domain.command_line import objection_to
from builds.domain.configuration import SNP_ONLY, VMMS
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.evidence import covers_what_boots
from builds.domain.launch import LaunchConfiguration, LaunchMeasurement, coverage_of
from builds.domain.roles import BootMode, Role
from builds.pipeline.measurement import MeasurementInputs, measure
from builds.pipeline.published_release import MissingFile, PublishedRelease
from builds.verify.findings import YOU, Finding, State
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
        return self != WantedLaunch()


@dataclass(frozen=True, slots=True)
class Launched:
    """A launch that somebody named, and the value that they gave for it (None: they gave none)."""

    configuration: LaunchConfiguration
    command_line: str
    value: str | None
    said_by: str

    @property
    def words(self) -> str:
        made = self.configuration
        parts = [
            made.boot_mode.value,
            f"{made.vcpus} vCPUs",
            made.vcpu_type,
            f"guest features {made.guest_features:#x}",
        ]
        line = [f"command line {self.command_line!r}"] if made.boot_mode is BootMode.DIRECT_KERNEL else []
        return ", ".join([*parts, made.vmm, *line])


def parse_value(text: str) -> str:
    """A launch measurement as it may be pasted: with 0x, colons, spaces or in upper case. Raises ``NoMeasurement``."""
    value = re.sub(r"[\s:]", "", text).lower().removeprefix("0x")
    if not _VALUE.fullmatch(value):
        raise NoMeasurement(f"{text[:120]!r} is not 96 hexadecimal characters", where="measurement")
    return value


def launches(release: PublishedRelease, votes: Iterable[Vote]) -> list[Launched]:
    """Every launch that the release's documents or the votes name, each once for what was said of it."""
    found = []
    stated = release.measurement
    if stated is not None and stated.launch is not None and stated.launch.command_line is not None:
        launch = stated.launch
        made = LaunchConfiguration(launch.boot_mode, launch.vcpus, launch.vcpu_type, SNP_ONLY, VMMS[0])
        found.append(Launched(made, launch.command_line or "", stated.value, "the publisher's documents"))
    for vote in votes:
        found += signed_launches(vote)
    return found


def signed_launches(vote: Vote) -> list[Launched]:
    """The launches that a rebuilder measured and signed."""
    found = []
    for entry in vote.statement.measurements:
        vmm = next((known for known in VMMS if known == entry.vmm), None)
        if vmm is None:
            continue
        made = LaunchConfiguration(entry.boot_mode, entry.vcpus, entry.vcpu_type, entry.guest_features, vmm)
        said_by = f"key sha256:{vote.key.fingerprint}"
        found.append(Launched(made, entry.command_line, entry.value or None, said_by))
    return found


def recompute(release: PublishedRelease, launched: Launched) -> LaunchMeasurement:
    """The measurement of the user's own files; raises what ``MeasurementCalculator`` does and ``MissingFile``."""
    paths = {role: asset.path for role, asset in release.assets.items() if asset.problem is None}
    ovmf, kernel, initrd = (paths.get(role) for role in (Role.OVMF, Role.KERNEL, Role.INITRD))
    direct = launched.configuration.boot_mode is BootMode.DIRECT_KERNEL
    if ovmf is None or (direct and (kernel is None or initrd is None)):
        raise MissingFile("firmware, kernel or initrd is not in the directory", where="launch measurement")
    inputs = MeasurementInputs(ovmf, kernel, initrd, launched.command_line) if direct else MeasurementInputs(ovmf)
    return measure(inputs, launched.configuration)


def check_measurements(release: PublishedRelease, votes: Sequence[Vote], wanted: WantedLaunch) -> list[Finding]:
    """A finding for each value that was published or signed, or one for the launch that the user asked about."""
    named = launches(release, votes)
    published = release.measurement.value if release.measurement is not None else None
    if wanted.is_given:
        return [_asked(release, named, published, wanted)]
    found = [_check(release, launched) for launched in _once(named)]
    if not named:
        reason = "Nothing names a launch: give --command-line, --vcpus and --vcpu-type."
        return [Finding(_AXIS, State.UNCHECKED, reason, "nobody")]
    if published is not None and published not in {launched.value for launched in named}:
        reason = f"Nothing says what the published {published} is for."
        found.append(Finding(_AXIS, State.UNCHECKED, reason, "the publisher's documents"))
    return found


def contradicted(release: PublishedRelease, against: Iterable[Vote]) -> list[Finding]:
    """A finding for each value that rebuilders of other bytes signed and the user's files do not give."""
    signed = _once(launched for vote in against for launched in signed_launches(vote))
    checked = [_check(release, launched) for launched in signed if launched.value is not None]
    return [finding for finding in checked if finding.state is State.FAILED]


def _once(named: Iterable[Launched]) -> list[Launched]:
    """The same said of the same launch by several is checked once, for all of them."""
    merged: dict[Launched, list[str]] = {}
    for launched in named:
        merged.setdefault(replace(launched, said_by=""), []).append(launched.said_by)
    return [replace(launched, said_by=", ".join(dict.fromkeys(who))) for launched, who in merged.items()]


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


def gives(release: PublishedRelease, votes: Sequence[Vote], wanted: WantedLaunch, value: str) -> Finding:
    """Whether the user's files give this value, for the launch that was given or for any that was named."""
    named = launches(release, votes)
    own = _own_launch(named, wanted) if wanted.is_given or not named else None
    tried = [own] if own is not None else _once(named)
    problem: PortalError | None = None
    for launched in tried:
        try:
            mine = recompute(release, launched)
        except PortalError as error:
            problem = error
            continue
        if mine.hex == value:
            reason = f"Your files give it for {launched.words}."
            return _objected(launched, named, wanted) or _covering(mine, reason, YOU)
    if problem is not None:
        return Finding(_AXIS, State.UNCHECKED, str(problem), YOU)
    reason = f"Your files give {value} for none of: {'; '.join(launched.words for launched in tried)}."
    return Finding(_AXIS, State.FAILED, reason, YOU)


def signed_for(votes: Iterable[Vote], value: str) -> Finding:
    """Which launch the counted rebuilders signed this value for."""
    signed = _once(launched for vote in votes for launched in signed_launches(vote))
    if not signed:
        return Finding(_AXIS, State.UNCHECKED, "No rebuilder that counts signed a measurement.", "nobody")
    for launched in signed:
        if launched.value == value:
            boots = launched.configuration.boot_mode
            # A rebuilder measures a kernel only with firmware that binds it (docs/predicates/rebuild-v1.md).
            covered = coverage_of(boots, kernel_hashes=boots is BootMode.DIRECT_KERNEL)
            mine = LaunchMeasurement(value, boots, covered)
            return _covering(mine, f"Signed for {launched.words}.", launched.said_by)
    reason = f"No rebuilder that counts signed {value}; signed were: {'; '.join(entry.words for entry in signed)}."
    return Finding(_AXIS, State.FAILED, reason, ", ".join(dict.fromkeys(entry.said_by for entry in signed)))


def computed_for(measured: MeasurementsDocument, value: str) -> Finding | None:
    """For which launch the portal computed this value from the published files; None when for none that it indexed."""
    for series in measured.series:
        vcpus = series.vcpus_of(value)
        if vcpus is None:
            continue
        # The portal computes one with a kernel only for firmware that binds it.
        covered = coverage_of(series.boot_mode, kernel_hashes=series.boot_mode is BootMode.DIRECT_KERNEL)
        line = f", command line {series.command_line!r}" if series.boot_mode is BootMode.DIRECT_KERNEL else ""
        words = (
            f"{series.boot_mode.value}, {vcpus} vCPUs, {' or '.join(series.vcpu_types)}, "
            f"guest features {series.guest_features:#x}, {series.vmm}{line}"
        )
        reason = f"Nobody signed it by itself; the portal computed it from the published files, for {words}."
        return _covering(LaunchMeasurement(value, series.boot_mode, covered), reason, "the portal")
    return None


def _own_launch(named: Sequence[Launched], wanted: WantedLaunch) -> Launched:
    """The user's own launch: what is not said of it stands as the first one named has it.

    Raises ``LaunchUnknown``, and ``MalformedInput`` for what cannot be launched.
    """
    base = named[0] if named else None
    command_line = wanted.command_line if wanted.command_line is not None else base.command_line if base else None
    if command_line is None:
        raise LaunchUnknown("nothing names the command line", where="--command-line")
    usual = base.configuration if base else LaunchConfiguration(BootMode.DIRECT_KERNEL, 1, "EPYC-v4", SNP_ONLY, "qemu")
    features = wanted.guest_features if wanted.guest_features is not None else usual.guest_features
    vcpus, vcpu_type = wanted.vcpus or usual.vcpus, wanted.vcpu_type or usual.vcpu_type
    made = LaunchConfiguration(usual.boot_mode, vcpus, vcpu_type, features, usual.vmm)
    return Launched(made, command_line, None, YOU)


def _asked(
    release: PublishedRelease, named: Sequence[Launched], published: str | None, wanted: WantedLaunch
) -> Finding:
    try:
        launched = _own_launch(named, wanted)
        mine = recompute(release, launched)
    except PortalError as error:
        return Finding(_AXIS, State.UNCHECKED, str(error), YOU)
    made, line = launched.configuration, launched.command_line
    same = [entry for entry in named if (entry.configuration, entry.command_line) == (made, line)]
    other = next((entry for entry in same if entry.value not in {None, mine.hex}), None)
    if other is not None:
        reason = f"Your files give {mine.hex}, not {other.value}, for {launched.words}."
        return Finding(_AXIS, State.FAILED, reason, other.said_by)
    if (objected := _objected(launched, named, wanted)) is not None:
        return objected
    confirmed = mine.hex == published or any(entry.value == mine.hex for entry in same)
    origin = "Published for this launch." if confirmed else "Not published; it follows from the same files."
    return _covering(mine, f"{mine.hex} for {launched.words}. {origin}", YOU)


def _objected(launched: Launched, named: Sequence[Launched], wanted: WantedLaunch) -> Finding | None:
    """Against a command line that nobody else named and nobody vouches for, or that replaces the image's init."""
    direct = BootMode.DIRECT_KERNEL
    if launched.configuration.boot_mode is not direct:
        return None
    lines = {entry.command_line for entry in named if entry.configuration.boot_mode is direct}
    objection = objection_to(launched.command_line, lines, is_vouched_for=wanted.is_vouched_for)
    if objection is None:
        return None
    advice = "" if objection.replaces_init else " Give --vouch-for-command-line if you know what it does."
    return Finding(_AXIS, State.FAILED, objection.sentence + advice, YOU)


def _covering(mine: LaunchMeasurement, reason: str, said_by: str) -> Finding:
    if covers_what_boots(mine.boot_mode, mine.coverage):
        return Finding(_AXIS, State.OK, reason, said_by)
    covered = ", ".join(sorted(mine.coverage))
    return Finding(_AXIS, State.FAILED, f"It covers only {covered}, not all that boots: {reason}", said_by)
