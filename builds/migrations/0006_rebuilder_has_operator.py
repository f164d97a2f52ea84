import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0005_operators_of_rebuilders")]

    operations = [
        migrations.AlterField(
            model_name="rebuilder",
            name="operator",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="rebuilders", to="builds.operator"
            ),
        ),
        migrations.RemoveField(model_name="rebuilder", name="operator_name"),
    ]
