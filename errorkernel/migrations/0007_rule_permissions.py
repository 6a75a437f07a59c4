"""Who may see and change rules, and the counter of all rules' revision at zero."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def make(apps, schema_editor):
    apps.get_model("errorkernel", "Counter").objects.get_or_create(name="rules", defaults={"value": 0})

    config = apps.get_app_config("errorkernel")
    config.models_module = True  # historical app configs have none, and are skipped without
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    groups = apps.get_model("auth", "Group").objects
    permissions = apps.get_model("auth", "Permission").objects.filter(content_type__app_label="errorkernel")
    view = list(permissions.filter(codename__in=["view_rule", "view_deadletter"]))
    change = list(permissions.filter(codename="change_rule"))
    for name, granted in (("viewer", view), ("operator", view + change), ("administrator", view + change)):
        group, _ = groups.get_or_create(name=name)
        group.permissions.add(*granted)


class Migration(migrations.Migration):
    dependencies = [("errorkernel", "0006_rules")]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
