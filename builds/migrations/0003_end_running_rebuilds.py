"""Claims are known by a hash from now on: what runs during the upgrade is ended, and its place is opened again."""

from django.db import migrations
from django.utils import timezone


def end_running(apps, schema_editor):
    rebuilds = apps.get_model("builds", "Rebuild").objects
    rebuilds.filter(state="running").update(state="lost", finished_at=timezone.now(), lease_expires_at=None)


class Migration(migrations.Migration):
    dependencies = [("builds", "0002_publication_formats")]

    operations = [migrations.RunPython(end_running, migrations.RunPython.noop)]
