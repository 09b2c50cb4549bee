"""The design document's four roles and its permission matrix, as rows."""

from django.db import migrations

# resource -> rights of (admin, operator, user, guest)
MATRIX = {
    "system_config": ("RW", "R", "", ""),
    "plugins": ("RW", "RW", "R", "R"),
    "models": ("RW", "RW", "R", "R"),
    "inference": ("RW", "RW", "RW", ""),
    "monitoring": ("RW", "R", "R", "R"),
}
ROLES = (
    ("admin", "Admin", "Full access, plugin management, configuration"),
    ("operator", "Operator", "Inference operations, monitoring, basic configuration"),
    ("user", "User", "Inference, read-only monitoring"),
    ("guest", "Guest", "Limited read-only access"),
)


def seed(apps, schema_editor):
    Role = apps.get_model("accounts", "Role")
    RolePermission = apps.get_model("accounts", "RolePermission")
    for column, (slug, name, description) in enumerate(ROLES):
        role = Role.objects.create(slug=slug, name=name, description=description, is_builtin=True)
        RolePermission.objects.bulk_create(
            RolePermission(
                role=role,
                resource=resource,
                can_read="R" in rights[column],
                can_write="W" in rights[column],
            )
            for resource, rights in MATRIX.items()
        )


def unseed(apps, schema_editor):
    apps.get_model("accounts", "Role").objects.filter(is_builtin=True).delete()


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunPython(seed, unseed)]
