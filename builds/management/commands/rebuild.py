"""``manage.py rebuild TAG``: queue a rebuild for the portal's own worker, or cancel one."""

from __future__ import annotations

import time
import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from builds import tasks
from builds.domain.errors import PortalError
from builds.models import Rebuild
from builds.services import queueing, rebuilding, running
from builds.services.evidence import outcome_of
from builds.services.projects import find_release


class Command(BaseCommand):
    help = "Queue a rebuild of an imported release; with --cancel, stop one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tag", nargs="?", help="the release to rebuild")
        parser.add_argument("--project", help="needed when several projects have this tag")
        parser.add_argument("--wait", action="store_true", help="wait for the end; exit 1 unless it reproduced")
        parser.add_argument("--cancel", type=uuid.UUID, metavar="ID", help="cancel this rebuild instead")

    def handle(self, *_: object, **options: Any) -> None:
        if options["cancel"] is not None:
            rebuild = Rebuild.objects.filter(pk=options["cancel"]).first()
            if rebuild is None:
                raise CommandError("no such rebuild")
            self.stdout.write(f"{rebuild.pk} {rebuilding.request_cancel(rebuild)}")
            return
        try:
            release = find_release(options["tag"] or "", options["project"])
            rebuild = queueing.request_rebuild(release, running.local_rebuilder())
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        if not tasks.hint(rebuild.pk):
            self.stderr.write("the broker is unreachable; the worker will find the rebuild when it sweeps")
        self.stdout.write(f"{rebuild.pk} {rebuild.state}")
        if options["wait"]:
            self._wait(rebuild)

    def _wait(self, rebuild: Rebuild) -> None:
        while not rebuild.run_state.is_final:
            time.sleep(1)
            rebuild.refresh_from_db()
        outcome = outcome_of(rebuild)
        self.stdout.write(f"{rebuild.pk} {rebuild.state} {outcome or ''}".rstrip())
        if rebuild.failure is not None:
            raise CommandError(f"{rebuild.failure['code']}: {rebuild.failure['what']} ({rebuild.failure['where']})")
        if outcome is None or outcome.value != "reproduced":
            raise CommandError(f"the release was not reproduced: {outcome or rebuild.state}")
