"""The demo: publish, import, rebuild and judge the reference releases, then say what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from attestations.models import VerdictRecord
from attestations.services.verdicts import bundle_of, record_verdict
from builds.demo import operators, repository, tampering
from builds.demo.forge import Attested, Forge
from builds.demo.operators import DemoOperator
from builds.demo.publisher import Publisher
from builds.domain.errors import PortalError
from builds.models import Release
from builds.pipeline.rebuild import BuildPlan
from builds.pipeline.recipes import read_command_line, read_recipe_and_lock
from builds.pipeline.source import SourceTree
from builds.services import workshop
from builds.services.evidence import view_of
from builds.snapshot import one_snapshot
from tee_portal.env import BASE_DIR

PROJECT = "reference-enclave"
HONEST, TAMPERED, CONTRADICTING, IMPOSTOR = "v1.0.0", "v1.0.1", "v1.0.0-mirror", "v1.0.2"
_IMPOSTOR_WORKFLOW = ".github/workflows/nightly.yml"
NOTICE = (
    "A demo: one machine played the publisher, the signer and all three rebuilders of reference-enclave. Its verdicts"
    " show how the portal decides; nobody independent stands behind them."
)
NOTICE_FILE = "notice.txt"
TAGS = (HONEST, TAMPERED, CONTRADICTING, IMPOSTOR)


class DemoFailed(PortalError):
    """The demo could not be carried through."""

    code = "demo-failed"
    default_todo = "Read the worker's log in var/demo/."


@dataclass(frozen=True, slots=True)
class Demo:
    """One demo in ``root`` (normally ``var/demo``); ``say`` prints a line of progress."""

    root: Path
    say: Callable[[str], None]

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    def publish(self) -> Forge:
        """Publish four releases: an honest one, one with a replaced initrd, one with an altered file, and one that
        another workflow than the expected one built and signed.
        """
        source = repository.make_repository(
            BASE_DIR / "examples" / PROJECT,
            self.root / "source",
            [HONEST, TAMPERED, IMPOSTOR],
            store=workshop.store(),
            mirror=workshop.mirror(),
            keyring=settings.ARCHIVE_KEYRING,
            say=self.say,
        )
        work = self.root / "publisher"
        plan = BuildPlan(
            source_url=self.source_url,
            commit="",
            tag=None,
            work=work,
            labels={},
            limits=workshop.limits(),
            keyring=settings.ARCHIVE_KEYRING,
            base_cache=work / "base",
        )
        publisher = Publisher(source, self.releases, work, plan, self.say)
        publisher.publish(HONEST)
        self._derive(TAMPERED, lambda directory: self._tamper(directory, publisher, source))
        self._derive(CONTRADICTING, lambda directory: self._mirror(directory, source))
        publisher.publish(IMPOSTOR)
        commits = {**source.commits, CONTRADICTING: source.commits[HONEST]}
        forge = Forge(self.releases, self.root / "attestations", commits)
        forge.attest(
            [
                Attested(HONEST),
                Attested(TAMPERED, replaced_later=frozenset({"initrd.img"})),
                Attested(IMPOSTOR, workflow=_IMPOSTOR_WORKFLOW),
            ]
        )
        return forge

    @property
    def source_url(self) -> str:
        return f"file://{self.root / 'source'}"

    def import_releases(self, forge: Forge) -> dict[str, Release]:
        """Import all four from the loopback GitHub, by tag; an imported one stays as it is."""
        self.say("importing from a GitHub-shaped server on loopback, attested under a local demo trust root")
        rows = forge.import_all(self.source_url)
        imported = {}
        for tag in TAGS:
            row = rows.get(tag)
            if row is None or row.release is None:
                problem = row.problem if row is not None else None
                raise DemoFailed(f"{tag} was not imported: {problem}", where=str(self.root))
            self.say(f"imported {tag}")
            for notice in view_of(reload(row.release)).notices:
                self.say(f"  {notice.kind}: {notice.sentence}")
            imported[tag] = row.release
        return imported

    def rebuild(self, releases: list[Release], portal: str) -> list[DemoOperator]:
        """Let three operators enrol, rebuild these releases and hand in what they signed; returns the operators."""
        team = [DemoOperator(name, self.root / "operators" / name, portal) for name in operators.NAMES]
        for operator in team:
            operator.enrol()
        self.say(f"{', '.join(operators.NAMES)} are enrolled, each with a key of its own")
        operators.rebuild_all(team, releases, self.say)
        return team

    def leave_evidence(self, team: list[DemoOperator], rebuilt: list[Release], judged: Iterable[Release]) -> Path:
        """Write the signed verdicts and statements with their public keys: what cosign is pointed at."""
        evidence = self.root / "evidence"
        shutil.rmtree(evidence, ignore_errors=True)
        evidence.mkdir()
        for release in judged:
            record_verdict(release.pk)
            newest = VerdictRecord.objects.filter(release=release).select_related("key").order_by("-at", "-pk")[0]
            if newest.key is None:
                raise DemoFailed(f"the verdict about {release.tag} is not signed", where=str(evidence))
            (evidence / f"{release.tag}.vsa.sigstore.json").write_bytes(bundle_of(newest))
            (evidence / f"{release.tag}.vsa.pub").write_text(newest.key.pem)
        for release in rebuilt:
            for operator in team:
                operator.leave_statement(release, evidence)
        return evidence

    def _derive(self, tag: str, make: Callable[[Path], None]) -> None:
        if not (self.releases / tag).is_dir():
            partial = self.root / "publisher" / f"release-{tag}"
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            partial.rename(self.releases / tag)

    def _tamper(self, directory: Path, publisher: Publisher, source: repository.SourceRepository) -> None:
        honest = publisher.publish(TAMPERED)
        honest.rename(directory)
        self.say(f"replacing the initrd of {TAMPERED} after the build, and hiding it in manifest and measurement")
        tree = SourceTree(source.path, source.commits[TAMPERED], 0)
        recipe, _ = read_recipe_and_lock(tree)
        tampering.replace_initrd(directory, source.path, read_command_line(tree, recipe.launch_configurations[0]))

    def _mirror(self, directory: Path, source: repository.SourceRepository) -> None:
        repository.tag_commit(source.path, CONTRADICTING, source.commits[HONEST])
        tampering.copy_as(self.releases / HONEST, directory, CONTRADICTING)
        self.say(f"changing one byte of the kernel of {CONTRADICTING}")
        tampering.flip_kernel_byte(directory)


def reload(release: Release) -> Release:
    """The release with all its evidence."""
    with one_snapshot():
        return Release.objects.with_evidence().get(pk=release.pk)
