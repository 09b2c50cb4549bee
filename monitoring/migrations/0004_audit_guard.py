"""The end of the log is counted and signed; triggers keep its rows.

On SQLite a later change of the table's columns makes the table anew, without triggers: such a
migration must end with `audit_guard.install`.
"""

from django.db import migrations

from monitoring import audit_guard
from monitoring.audit_chain import GENESIS, sign_head


def sign(apps, schema_editor):
    """What was written so far is taken as it is."""
    rows = apps.get_model("monitoring", "AuditLog").objects
    newest = rows.order_by("-id").values_list("hash", flat=True).first() or GENESIS
    count = rows.count()
    apps.get_model("monitoring", "AuditHead").objects.update_or_create(
        pk=1, defaults={"hash": newest, "num_rows": count, "signature": sign_head(newest, count)}
    )


def guard(apps, schema_editor):
    audit_guard.install(schema_editor.connection)


def unguard(apps, schema_editor):
    audit_guard.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0003_seals_and_configuration")]
    operations = [
        migrations.RunPython(sign, migrations.RunPython.noop),
        migrations.RunPython(guard, unguard),
    ]
