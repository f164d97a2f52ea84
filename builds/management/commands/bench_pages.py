"""``manage.py bench_pages``: parts of ``bench`` that need a process and a database of their own."""

from __future__ import annotations

import gc
import json
import time
from argparse import ArgumentParser
from dataclasses import asdict
from itertools import cycle, islice
from typing import Any, Never

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from builds.bench import page_store, page_times
from builds.domain.lifecycle import RunState
from builds.models import Measurement, Rebuild

_LOGS = ("log, a page of it", "log, the tail of a running one", "rebuild, running")


class Command(BaseCommand):
    help = "Fill an empty portal and measure its pages; prints one line of JSON. Used by bench."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("part", choices=["fill", "times", "plan", "grow", "answers"])
        parser.add_argument("numbers", nargs="*", type=float)

    def handle(self, *_: object, **options: Any) -> None:
        numbers = [int(number) for number in options["numbers"]]
        self.stdout.write(json.dumps(getattr(self, f"_{options['part']}")(*numbers)))

    def _fill(self, releases: int, rebuilds: int, components: int, log_lines: int) -> float:
        call_command("migrate", verbosity=0, interactive=False)
        began = time.monotonic()
        scale = page_store.Scale(releases, rebuilds, components, log_lines)
        page_store.fill(scale, settings.DATA_DIR / "bench-keys")
        return time.monotonic() - began

    def _times(self, requests: int) -> list[dict[str, object]]:
        # As gunicorn.conf.py has it for the processes that serve.
        gc.collect()
        gc.freeze()
        return [asdict(figures) for figures in page_times.measure(requests)]

    def _plan(self, live: int, stored: int) -> dict[str, Any]:
        """What readers of logs read, and the other pages that are asked for meanwhile."""
        rows = Rebuild.objects.order_by("queued_at").values_list("pk", flat=True)
        tails = [reverse("rebuild-log-tail", args=[pk]) for pk in rows.filter(state=RunState.RUNNING)]
        whole = [reverse("rebuild-log", args=[pk]) for pk in rows.filter(state=RunState.SUCCEEDED)[:stored]]
        pages = {name: found for name, found in page_times.addresses().items() if name not in _LOGS}
        return {
            "live": list(islice(cycle(tails), live)),
            "stored": list(islice(cycle(whole), stored)),
            "pages": pages,
        }

    def _answers(self) -> dict[str, str]:
        """Index a measurement of each release among others, and name addresses of the API that know one."""
        page_store.index()
        configuration = Measurement.objects.select_related("launch_configuration__release__project").first()
        if configuration is None:
            raise CommandError("the store is empty")
        release = configuration.launch_configuration.release
        return {
            "lookup": f"/api/v1/measurements/{configuration.published}?project={release.project.name}",
            "verdict": f"/api/v1/releases/{release.project.name}/{release.tag}/verdict",
        }

    def _grow(self) -> Never:
        """Lines for every running rebuild, every second, until it is stopped."""
        turn = 0
        while True:
            page_store.grow(turn)
            turn += 1
            time.sleep(1)
