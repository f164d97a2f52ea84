"""``manage.py bench``: measure what the portal adds, against plain tools in the same run.

Every figure is a ratio or stands beside something measured in the same minute; single times of a
shared machine mean little.
"""

from __future__ import annotations

import os
import platform
import signal
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from builds.bench import answers, attestation_page, pages, rebuilders
from builds.bench.attestation_page import Sizes
from builds.bench.rebuild_overhead import bench_rebuild
from builds.bench.release_reading import GUEST_FEATURES, SIGNATURES, VCPUS, Matrix, bench_import, bench_matrix
from builds.bench.timing import Pair
from builds.demo import story
from builds.domain.errors import PortalError
from builds.models import Release
from builds.services import measurement_index
from tee_portal.env import BASE_DIR

PAGE = """\
# Benchmarks

Written by `make bench`. Ratios are of runs taken in turn in one go (median of pairs, then the range);
times are medians and belong to the machine they were taken on, which each part names: it can be measured by itself.

| What | Ours | Reference | Ratio | Bound |
| --- | --- | --- | --- | --- |
{rows}

All {digests} launch measurements of one release ({signatures} CPU signatures, 1 to {vcpus} vCPUs,
{features} guest-feature values): **{milliseconds:.1f} ms**, bound 50 ms. {sampled} sampled points equal the answer of
the `sev-snp-measure` command, one call of which takes {tool:.0f} ms.

The bare script loads the same base image, makes the same builds with contexts that lie ready, copies the
outputs out, hashes them and removes everything. It does not fetch the source, verify packages or their
signed index, trace origins, compute measurements, store a log or keep a lease.
The import reads 2 GiB of disk through its gzip container and computes SHA-256 and SHA-384 of both; the
reference hashes the raw files once, with SHA-384 alone.

"""
HEADINGS = {
    "rebuilds": "",
    "attestations": "## Attestations\n",
    "rebuilders": "## Rebuilders\n",
    "pages": "## Pages\n",
    "api": "## API\n",
}
"""Of each part, in the order of the page."""


class Command(BaseCommand):
    help = "Measure and write docs/benchmarks.md."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--part",
            choices=list(HEADINGS),
            help="measure this part, keep the other",
        )

    def handle(self, *_: object, **options: Any) -> None:
        # A terminated run stops the servers that it started.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        page = BASE_DIR / "docs" / "benchmarks.md"
        kept = parts_of(page.read_text(encoding="utf-8"))
        try:
            texts = [
                f"{HEADINGS[part]}\n{self._measured(part) if options['part'] in {None, part} else kept[part].strip()}"
                for part in HEADINGS
            ]
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        text = "\n\n".join(entry.strip() for entry in texts) + "\n"
        page.write_text(text, encoding="utf-8")
        self.stdout.write(text)

    def _measured(self, part: str) -> str:
        measure = {
            "rebuilds": self._rebuilds,
            "attestations": self._attestations,
            "rebuilders": self._rebuilders,
            "pages": self._pages,
            "api": self._api,
        }[part]
        return f"{measure().rstrip()}\n\nMachine: {_machine()}."

    def _rebuilds(self) -> str:
        release = self._demo_release()
        directory = settings.DATA_DIR / "demo" / "releases" / story.HONEST
        with tempfile.TemporaryDirectory(dir=settings.DATA_DIR, prefix="bench-") as work:
            self.stdout.write("measuring: all measurements of a release, import, rebuild")
            matrix = bench_matrix(directory)
            imported = bench_import(directory, Path(work))
            rebuilt = bench_rebuild(release, Path(work))
        return _render(rebuilt, imported, matrix)

    def _rebuilders(self) -> str:
        with tempfile.TemporaryDirectory(dir=settings.DATA_DIR, prefix="bench-") as work:
            cache = settings.DATA_DIR / "bench"
            return rebuilders.Bench(Path(work), cache, self._postgres(), self.stdout.write).measure()

    def _pages(self) -> str:
        with tempfile.TemporaryDirectory(dir=settings.DATA_DIR, prefix="bench-") as work:
            return pages.Bench(Path(work), self._postgres(), self.stdout.write).measure()

    def _api(self) -> str:
        redis = settings.ENVIRONMENT.redis_url
        if redis is None:
            raise CommandError("this part needs a Redis server: REDIS_URL")
        with tempfile.TemporaryDirectory(dir=settings.DATA_DIR, prefix="bench-") as work:
            cache = settings.DATA_DIR / "bench"
            return answers.Bench(Path(work), cache, self._postgres(), redis, self._index, self.stdout.write).measure()

    def _index(self) -> tuple[int, float]:
        release = self._demo_release()
        release.measurement_series.all().delete()
        began = time.monotonic()
        configurations = measurement_index.fill(release.pk)
        return configurations, time.monotonic() - began

    def _demo_release(self) -> Release:
        """The honest reference release; the demo makes it where it is not."""
        if not (settings.DATA_DIR / "demo" / "verdicts.json").is_file():
            self.stdout.write("the reference releases are not there yet; running the demo first")
            call_command("demo", exit=True)
        return Release.objects.get(project__name=story.PROJECT, tag=story.HONEST)

    def _postgres(self) -> str:
        server = settings.ENVIRONMENT.bench_postgres_url
        if server is None:
            raise CommandError("this part needs a PostgreSQL server: TEST_POSTGRES_URL")
        return server

    def _attestations(self) -> str:
        with tempfile.TemporaryDirectory(dir=settings.DATA_DIR, prefix="bench-") as work:
            return attestation_page.measure(Path(work), settings.DATA_DIR / "bench", Sizes(), self.stdout.write)


def parts_of(page: str) -> dict[str, str]:
    """What the page says of each part, below its heading; "" for one that was never measured."""
    found = {}
    for part, heading in reversed(HEADINGS.items()):
        page, _, found[part] = page.partition(heading) if heading else ("", "", page)
    return found


def _render(rebuilt: Pair, imported: Pair, matrix: Matrix) -> str:
    rows = [
        rebuilt.row("a rebuild through worker, database and log / the same Docker calls in a bare script", "1.05"),
        imported.row("import of a release / openssl of the same raw bytes and one sev-snp-measure", "1.15"),
    ]
    return PAGE.format(
        rows="\n".join(rows),
        digests=matrix.digests,
        signatures=SIGNATURES,
        vcpus=VCPUS,
        features=len(GUEST_FEATURES),
        milliseconds=matrix.milliseconds,
        sampled=matrix.sampled,
        tool=matrix.tool_milliseconds,
    )


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return (
        f"{os.cpu_count()} cores of {models[0] if models else 'unknown'}, {memory:.0f} GiB, Linux {platform.release()}"
    )
