"""Logs that were kept before their lines were counted have the same numbers as those of today."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from builds.models import LogChunk
from builds.services import build_logs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

BEFORE = ("builds", "0009_decisions_about_operators")


def test_pieces_of_old_logs_are_counted_in_their_order() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate([BEFORE])
    apps = MigrationExecutor(connection).loader.project_state([BEFORE]).apps
    project = apps.get_model("builds", "Project").objects.create(name="p", source_url="file:///nowhere")
    release = apps.get_model("builds", "Release").objects.create(
        project=project, tag="v1", commit="c" * 40, source_date_epoch=1, manifest=b"{}", manifest_sha256="e" * 64
    )
    now = timezone.now()
    rebuild = apps.get_model("builds", "Rebuild").objects.create(release=release, state="cancelled", finished_at=now)
    texts = [*(f"line {number}\nand more\n" for number in range(250)), "", "\N{SNOWMAN} no end"]
    old = apps.get_model("builds", "LogChunk")
    for sequence, text in reversed(list(enumerate(texts, 1))):
        old.objects.create(rebuild=rebuild, sequence=sequence, stage_position=1, text=text)
    newest = MigrationExecutor(connection)
    newest.migrate(newest.loader.graph.leaf_nodes())
    size = build_logs.log_size(rebuild.pk)
    assert (size.lines, size.bytes) == (501, len("".join(texts).encode()))
    assert list(build_logs.lines_between(rebuild.pk, 499, 501)) == [
        (499, "line 249"),
        (500, "and more"),
        (501, "\N{SNOWMAN} no end"),
    ]
    assert LogChunk.objects.filter(last_line=0).count() == 0
