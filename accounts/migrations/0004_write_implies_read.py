"""Who may write may read: the database keeps it so."""

from django.db import migrations, models


def read_where_written(apps, schema_editor):
    cells = apps.get_model("accounts", "RolePermission").objects
    cells.filter(can_write=True, can_read=False).update(can_read=True)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_limits_and_usage")]
    operations = [
        migrations.RunPython(read_where_written, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="rolepermission",
            constraint=models.CheckConstraint(
                condition=models.Q(("can_read", True), ("can_write", False), _connector="OR"),
                name="who_may_write_may_read",
            ),
        ),
    ]
