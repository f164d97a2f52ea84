"""``manage.py bench_store COUNT``: part of ``bench``, run in a process and a database of its own."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from builds.bench.attestation_store import measure


class Command(BaseCommand):
    help = "Measure attestations through an empty database; prints one line of JSON. Used by bench."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("count", type=int, help="how many bundles are stored and judged anew")

    def handle(self, *_: object, **options: Any) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        self.stdout.write(json.dumps(measure(options["count"])))
