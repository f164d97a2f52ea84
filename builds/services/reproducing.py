"""Commands that repeat what the portal did with a release, each to be pasted into a shell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from builds.domain.advice_lines import rebuild_line
from builds.domain.comparison import Subject
from builds.domain.digest import Algorithm, Digest
from builds.domain.measure_command import path_of
from builds.domain.quoting import quoted
from builds.domain.roles import BootMode, Role
from builds.models import Component, Release
from builds.services.configurations import launch_of
from builds.services.evidence import MeasurementRow, ReleaseView
from builds.services.shell_lines import measuring_line_of, published_path, target_of

_GITHUB = "https://github.com"
# The version whose answers this portal was held against.
_SEV_SNP_MEASURE = "sev-snp-measure==0.0.13"


@dataclass(frozen=True, slots=True)
class CommandStep:
    """One step: what it does, what to know of it, and its shell lines."""

    title: str
    about: str
    lines: tuple[str, ...]


def steps_for(view: ReleaseView, portal: str, repository: str = "") -> list[CommandStep]:
    """The steps in their order; ``portal`` is this address without a slash, ``repository`` GitHub's owner and name.

    A step for which nothing is known here is left out.
    """
    components = {Role(entry.role): entry for entry in view.release.components.all()}
    measured = [step for row in view.measurements for step in _measure(row, components)]
    steps = [
        _fetch(view.release, components.values(), repository),
        _check(view.release, components.values()),
        *measured,
        _rebuild(view.release, portal),
    ]
    return [step for step in steps if step.lines]


def _fetch(release: Release, components: Iterable[Component], repository: str) -> CommandStep:
    names = dict.fromkeys([release.document_name, *(entry.file_name for entry in components if entry.file_name)])
    paths = [path_of(name) for name in names]
    if not repository:
        about = "This portal read them from a folder, so ask the publisher where they are. In that folder:"
        return CommandStep("Have the published files in one folder", about, (f"ls -l {' '.join(map(quoted, paths))}",))
    base = f"{_GITHUB}/{repository}/releases/download/{quote(release.tag, safe='')}"
    lines = tuple(
        f"curl -fsSL -o {quoted(path)} {quoted(f'{base}/{quote(name)}')}"
        for name, path in zip(names, paths, strict=True)
    )
    return CommandStep("Fetch the published files", "Into an empty folder; the next steps go on in it.", lines)


def _check(release: Release, components: Iterable[Component]) -> CommandStep:
    document = release.document_name
    path = path_of(document)
    lines = [_sum(Digest.sha256(release.manifest_sha256), path)]
    for component in components:
        target = target_of(component)
        lines += target.unpack
        claimed = Digest.parse(component.claimed_digest) if component.claimed_digest else None
        if claimed is None:
            continue
        inside = component.claim_subject == Subject.CONTENT
        lines.append(_sum(claimed, target.path if inside else published_path(component)))
    about = "Each file against the digest that the publisher's document names, and that document against its own here."
    return CommandStep("Hash them", about, tuple(lines))


def _sum(digest: Digest, path: str) -> str:
    program = {Algorithm.SHA256: "sha256sum", Algorithm.SHA384: "sha384sum", Algorithm.SHA512: "sha512sum"}
    return f"printf '%s  %s\\n' {digest.hex} {quoted(path)} | {program[digest.algorithm]} --check"


def _measure(row: MeasurementRow, components: dict[Role, Component]) -> list[CommandStep]:
    """One step for a configuration whose command line is known; it succeeds where the published value comes out."""
    configuration, expected = row.configuration, row.evidence.published or row.evidence.recomputed
    launch = launch_of(configuration)
    unknown = launch.boot_mode is BootMode.DIRECT_KERNEL and configuration.command_line is None
    line = measuring_line_of(launch, configuration.command_line or "", components)
    if expected is None or unknown or line is None:
        return []
    about = "With AMD's formula; the line prints the published value if it comes out, and nothing if another does."
    title = f"Compute the launch measurement for {configuration.vcpus} vCPUs of {configuration.vcpu_type}"
    return [CommandStep(title, about, (f"pip install {_SEV_SNP_MEASURE}", f"{line} | grep -Fx {expected}"))]


def _rebuild(release: Release, portal: str) -> CommandStep:
    line = rebuild_line(release.project.name, release.tag, portal)
    about = (
        "On your own machine, from source and without network; it prints published and rebuilt digests beside each"
        " other and signs what it got. Nothing is claimed or handed in."
    )
    return CommandStep("Rebuild it yourself", about, (line,))
