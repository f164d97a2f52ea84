"""Who says how a release is launched: rebuilders by their signatures, and documents that nobody signed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from builds.domain.configuration import SNP_ONLY, VMMS
from builds.domain.errors import MalformedInput
from builds.domain.launch import LaunchConfiguration
from builds.domain.roles import BootMode
from builds.pipeline.published_release import PublishedRelease
from builds.verify.findings import Finding, State
from builds.verify.signatures import Vote
from builds.verify.votes import Counted

DOCUMENTS = "your copy of the publisher's documents, unsigned"


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

    def is_like(self, other: Launched) -> bool:
        """Whether it is the same launch, whatever value it is said to give."""
        return (self.configuration, self.command_line) == (other.configuration, other.command_line)


@dataclass(frozen=True, slots=True)
class Agreed:
    """Launches with the value that was signed for each: by as many distinct operators as are needed, and by fewer.

    One operator's word is never relied on where more are needed: any of them could sign a launch that nobody meant.
    """

    by_enough: tuple[Launched, ...]
    by_few: tuple[Launched, ...]
    unusable: tuple[Finding, ...] = ()
    """About launches that were signed and that no machine has: each decides nothing, and names who signed it."""

    @property
    def command_lines(self) -> frozenset[str]:
        """Of kernels, not of disks, which no command line reaches."""
        direct = BootMode.DIRECT_KERNEL
        return frozenset(entry.command_line for entry in self.by_enough if entry.configuration.boot_mode is direct)

    @property
    def guest_features(self) -> frozenset[int]:
        return frozenset(entry.configuration.guest_features for entry in self.by_enough)


def agreed_launches(counted: Counted, stated: Launched | None = None) -> Agreed:
    """What the counted votes say of launches; ``stated`` stands first among them, where enough signed it too."""
    groups: dict[Launched, list[Vote]] = {}
    unusable: list[Finding] = []
    for vote in counted.votes:
        signed = signed_launches(vote)
        unusable += signed.unusable
        for launched in signed.launches:
            groups.setdefault(replace(launched, said_by=""), []).append(vote)
    enough: list[Launched] = []
    few: list[Launched] = []
    for launched, votes in groups.items():
        said_by = ", ".join(dict.fromkeys(_signer(vote) for vote in votes))
        is_enough = counted.needed is not None and counted.operators.distinct(votes) >= counted.needed
        (enough if is_enough else few).append(replace(launched, said_by=said_by))
    if stated is not None:
        enough.sort(key=lambda entry: not entry.is_like(stated))
    return Agreed(tuple(enough), tuple(few), tuple(unusable))


def stated_launch(release: PublishedRelease) -> Launched | None:
    """The launch that the documents in the user's directory name; None when they name none."""
    stated = release.measurement
    if stated is None or stated.launch is None or stated.launch.command_line is None:
        return None
    launch = stated.launch
    made = LaunchConfiguration(launch.boot_mode, launch.vcpus, launch.vcpu_type, SNP_ONLY, VMMS[0])
    return Launched(made, launch.command_line or "", stated.value, DOCUMENTS)


@dataclass(frozen=True, slots=True)
class Signed:
    """The launches of one statement, and a finding for each of them that cannot be."""

    launches: tuple[Launched, ...]
    unusable: tuple[Finding, ...]


def signed_launches(vote: Vote) -> Signed:
    """The launches that a rebuilder measured and signed; one that cannot be ends nothing but itself."""
    launches: list[Launched] = []
    unusable: list[Finding] = []
    for entry in vote.statement.measurements:
        vmm = next((known for known in VMMS if known == entry.vmm), None)
        if vmm is None:
            continue
        try:
            made = LaunchConfiguration(entry.boot_mode, entry.vcpus, entry.vcpu_type, entry.guest_features, vmm)
        except MalformedInput as error:
            reason = f"Not counted. The launch {entry.name!r} was signed and cannot be: {error.what}."
            unusable.append(Finding("measurement", State.NOTED, reason, _signer(vote)))
            continue
        launches.append(Launched(made, entry.command_line, entry.value or None, _signer(vote)))
    return Signed(tuple(launches), tuple(unusable))


def once(named: Iterable[Launched]) -> list[Launched]:
    """The same said of the same launch by several is checked once, for all of them."""
    merged: dict[Launched, list[str]] = {}
    for launched in named:
        merged.setdefault(replace(launched, said_by=""), []).append(launched.said_by)
    return [replace(launched, said_by=", ".join(dict.fromkeys(who))) for launched, who in merged.items()]


def _signer(vote: Vote) -> str:
    return f"key sha256:{vote.key.fingerprint}"
