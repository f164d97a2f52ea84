"""Operators were a name on each rebuilder; now each is a row of its own."""

from django.db import migrations
from django.utils import timezone
from django.utils.text import slugify


def make_operators(apps, schema_editor):
    operators = apps.get_model("builds", "Operator").objects
    for rebuilder in apps.get_model("builds", "Rebuilder").objects.all():
        accepted = {
            "accepted_at": timezone.now(),
            "accepted_by": "this portal",
            "identified_by": "it was known here before operators were enrolled",
        }
        # One name is one operator; two names that would share an address are two.
        name = rebuilder.operator_name[:80] or f"operator {rebuilder.pk}"
        slug = slugify(name)[:63] or f"operator-{rebuilder.pk}"
        if operators.exclude(name=name).filter(slug=slug).exists():
            slug = f"{slug[:40]}-{rebuilder.pk}"
        rebuilder.operator, _ = operators.get_or_create(name=name, defaults={"slug": slug, **accepted})
        rebuilder.save(update_fields=["operator"])


def place_queued(apps, schema_editor):
    for rebuild in apps.get_model("builds", "Rebuild").objects.filter(state="queued"):
        rebuild.wanted_from_id, rebuild.rebuilder_id = rebuild.rebuilder_id, None
        rebuild.save(update_fields=["wanted_from", "rebuilder"])


class Migration(migrations.Migration):
    dependencies = [("builds", "0004_rebuilders")]

    operations = [
        migrations.RunPython(make_operators, migrations.RunPython.noop),
        migrations.RunPython(place_queued, migrations.RunPython.noop),
    ]
