"""``manage.py demo``: the main job on real input, from publishing to the verdict, then serve it."""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from attestations.services.standing import judged_view
from builds.demo import outcome, processes, story
from builds.demo.table import verdict_table
from builds.domain.errors import PortalError
from builds.snapshot import one_snapshot
from tee_portal.env import BASE_DIR


class Command(BaseCommand):
    help = "Publish reference releases, import and rebuild them, print the verdicts and serve the pages."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--exit", action="store_true", help="stop after the verdicts instead of serving")
        parser.add_argument("--port", type=int, default=8000, help="where to serve; another free port if taken")

    def handle(self, *_: object, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._run(stop=options["exit"], port=options["port"])
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        except KeyboardInterrupt:
            self._say("stopped")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _run(self, *, stop: bool, port: int) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        root = settings.DATA_DIR / "demo"
        demo = story.Demo(root, self._say)
        with ExitStack() as stack:
            chosen = processes.free_port(port)
            address = stack.enter_context(processes.web_server(BASE_DIR, root / "web.log", chosen, story.NOTICE))
            # For whoever serves these pages later (scripts/serve).
            (root / story.NOTICE_FILE).write_text(story.NOTICE, encoding="utf-8")
            self._say(f"pages at {address} {'until the verdicts are there' if stop else 'while this runs'}")
            stack.enter_context(processes.worker(BASE_DIR, root / "worker.log"))
            imported = demo.import_releases(demo.publish())
            rebuilt = [imported[story.HONEST], imported[story.TAMPERED]]
            team = demo.rebuild(rebuilt, address)
            evidence = demo.leave_evidence(team, rebuilt, imported.values())
            with one_snapshot():
                judged = {tag: judged_view(story.reload(release)) for tag, release in imported.items()}
            outcome.write_report(root / "verdicts.json", outcome.report(judged))
            for line in verdict_table(judged.values()):
                self._say(line)
            problems = outcome.unexpected(judged)
            for problem in problems:
                self._say(f"UNEXPECTED: {problem}")
            self._say(f"\nverdicts in {root / 'verdicts.json'}, signed ones and signed rebuilds in {evidence}")
            if not problems and not stop:
                self._say(f"serving {address} until Ctrl-C")
                signal.pause()
            self._say("the pages are served by: make serve")
        if problems:
            sys.exit(1)
