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
        migrations.AlterField(model_name="rebuilder", name="name", field=models.SlugField(max_length=80)),
        migrations.AddConstraint(
            model_name="rebuilder",
            constraint=models.UniqueConstraint(fields=("operator", "name"), name="rebuilder_once_per_operator"),
        ),
        migrations.RemoveField(model_name="rebuilder", name="operator_name"),
    ]
