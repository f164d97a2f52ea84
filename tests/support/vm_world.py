"""A project whose releases come in the format of Katana's VM, with a real source and a real measurement."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sevsnpmeasure.guest import snp_calc_launch_digest
from sevsnpmeasure.vcpu_types import CPU_SIGS

from builds.models import Project, Release
from builds.services.evidence import ReleaseView, view_of
from builds.services.importing import import_release
from tee_portal.env import BASE_DIR
from tests.support.sources import Repository
from tests.support.vm_release import COMMAND_LINE, INITRD, KERNEL, VmRelease

EXAMPLE = BASE_DIR / "examples" / "katana-tee-vm" / "tee-portal.toml"


def expected(firmware: Path, directory: Path, command_line: str = COMMAND_LINE, vcpus: int = 1) -> str:
    """The library's own answer for the published files."""
    (directory / "k").write_bytes(KERNEL)
    (directory / "i").write_bytes(INITRD)
    names = (str(firmware), str(directory / "k"), str(directory / "i"))
    return snp_calc_launch_digest(vcpus, CPU_SIGS["EPYC-v4"], *names, command_line, 0x1, "").hex()


@dataclass
class World:
    """One project with a source that has no recipe of its own, and what its publisher gives out."""

    root: Path
    repository: Repository
    project: Project
    release: VmRelease
    directories: list[Path] = field(default_factory=list)

    def publish(self) -> Path:
        directory = self.root / f"published-{len(self.directories)}"
        self.directories.append(directory)
        return self.release.write(directory)

    def imported(self, **given: str) -> Release:
        return import_release(self.project, self.publish(), tag=self.release.tag, **given)

    def view(self, **given: str) -> ReleaseView:
        return view_of(Release.objects.with_evidence().get(pk=self.imported(**given).pk))


def conditions(view: ReleaseView) -> dict[str, tuple[str, str]]:
    """State and sentence of each condition of the verdict."""
    return {entry.key: (entry.state.value, entry.sentence) for entry in view.verdict.conditions}
