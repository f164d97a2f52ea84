"""Each piece of a log says where it ends: what is stored is counted once, rebuild by rebuild, a few pieces at a time."""

from __future__ import annotations

from typing import Any, ClassVar

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_AT_ONCE = 100


def count_lines(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    chunks: Any = apps.get_model("builds", "LogChunk")
    for rebuild in list(chunks.objects.order_by().values_list("rebuild", flat=True).distinct()):
        _count(chunks, rebuild)


def _count(chunks: Any, rebuild: Any) -> None:
    """As ``builds.services.recording.LogEnd`` counts."""
    sequence, line, byte = -1, 0, 0
    while found := list(chunks.objects.filter(rebuild=rebuild, sequence__gt=sequence).order_by("sequence")[:_AT_ONCE]):
        for chunk in found:
            sequence = chunk.sequence
            line += len(chunk.text.removesuffix("\n").split("\n")) if chunk.text else 0
            byte += len(chunk.text.encode())
            chunk.last_line, chunk.end_byte = line, byte
        chunks.objects.bulk_update(found, ["last_line", "end_byte"])


class Migration(migrations.Migration):
    dependencies: ClassVar = [("builds", "0010_digest_indexes")]

    operations: ClassVar = [
        migrations.AddField("logchunk", "last_line", models.PositiveIntegerField(default=0), preserve_default=False),
        migrations.AddField("logchunk", "end_byte", models.PositiveBigIntegerField(default=0), preserve_default=False),
        migrations.AddIndex("logchunk", models.Index(fields=["rebuild", "last_line", "stage_position"], name="log_line")),
        migrations.AddIndex("rebuild", models.Index(fields=["finished_at"], name="rebuild_finished")),
        migrations.RunPython(count_lines, migrations.RunPython.noop),
    ]
