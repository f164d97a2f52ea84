"""``manage.py openapi``: write the API's description to docs/openapi.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tee_portal.api import openapi_document
from tee_portal.env import BASE_DIR


class Command(BaseCommand):
    help = "Write the API's description (OpenAPI 3.1) to docs/openapi.json; the suite fails where that lags behind."
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, default=BASE_DIR / "docs" / "openapi.json")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        file.write_bytes(openapi_document())
        self.stdout.write(f"wrote {file}")
