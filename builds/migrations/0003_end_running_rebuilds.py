"""Claims are known by a hash from now on: what runs during the upgrade is ended, and its place is opened again."""

from django.db import migrations
from django.utils import timezone


def end_running(apps, schema_editor):
    rebuild, event = apps.get_model("builds", "Rebuild"), apps.get_model("builds", "RebuildEvent")
    now = timezone.now()
    for ended in rebuild.objects.filter(state="running"):
        ended.state, ended.finished_at, ended.lease_expires_at = "lost", now, None
        ended.save(update_fields=["state", "finished_at", "lease_expires_at"])
        event.objects.create(rebuild=ended, kind="lost", detail={"worker": ended.worker})
        if ended.cancel_requested_at is None:
            again = rebuild.objects.create(
                release_id=ended.release_id, rebuilder_id=ended.rebuilder_id, retry_of=ended, queued_at=now
            )
            event.objects.create(rebuild=again, kind="queued", detail={"retry_of": str(ended.pk)})


class Migration(migrations.Migration):
    dependencies = [("builds", "0002_publication_formats")]

    operations = [migrations.RunPython(end_running, migrations.RunPython.noop)]
