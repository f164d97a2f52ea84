"""``manage.py bench_rebuilders``: parts of ``bench`` that need a process and a database of their own."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db.models import F

from builds.bench import rebuilder_store as store
from builds.models import Project, Rebuild


class Command(BaseCommand):
    help = "Measure the queue and verdicts of rebuilders in an empty database; prints one line of JSON. Used by bench."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("part", choices=["operators", "places", "received", "claims", "verdicts"])
        parser.add_argument("keys", type=Path, help="where the operators' keys lie or go")
        parser.add_argument("--count", type=int, default=1)
        parser.add_argument("--prefix", default="v")

    def handle(self, *_: object, **options: Any) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        self.stdout.write(json.dumps(getattr(self, f"_{options['part']}")(options)))

    def _operators(self, options: dict[str, Any]) -> list[str]:
        options["keys"].mkdir(parents=True, exist_ok=True)
        return [store.make_operator(number, options["keys"]).public.name for number in range(options["count"])]

    def _places(self, options: dict[str, Any]) -> int:
        project, _ = Project.objects.get_or_create(
            name="bench", defaults={"source_url": "file:///nowhere", "needed_operators": 1}
        )
        store.open_places(project, options["count"], options["prefix"])
        return int(options["count"])

    def _received(self, options: dict[str, Any]) -> dict[str, Any]:
        """Of the places of a prefix: how many are done and held, and when each was queued, started and judged.

        One is done when the verdict that its statement led to is recorded and signed.
        """
        rows = Rebuild.objects.filter(release__tag__startswith=options["prefix"])
        done = rows.filter(state="succeeded", release__judged_at__gte=F("statement__received_at"))
        times = [
            [moment.timestamp() for moment in row if moment is not None]
            for row in done.order_by("finished_at").values_list("queued_at", "started_at", "release__judged_at")
        ]
        held = rows.filter(state="running").count()
        return {"rows": rows.count(), "done": done.count(), "held": held, "times": times}

    def _claims(self, options: dict[str, Any]) -> dict[str, float]:
        options["keys"].mkdir(parents=True, exist_ok=True)
        return store.measure_claims(options["keys"], agents=50, queued=10_000, claims=options["count"])

    def _verdicts(self, options: dict[str, Any]) -> list[dict[str, float]]:
        options["keys"].mkdir(parents=True, exist_ok=True)
        return store.measure_verdicts(options["keys"], results=options["count"], operators=[10, options["count"]])
