"""The three groups that people are put into, and the counters at zero.

Django makes permissions only after all migrations have run, so the ones that the groups need are made here.
"""

from django.contrib.auth.management import create_permissions
from django.db import migrations

VIEW = [
    "node", "process", "problem", "errorstate", "errorevent", "incident", "decision", "auditentry",
    "quarantinedmessage", "kernelheartbeat",
]
ADMINISTER = ["node", "apitoken", "quarantinedmessage"]


def make(apps, schema_editor):
    counters = apps.get_model("errorkernel", "Counter")
    for name in ("events", "changes", "nodes"):
        counters.objects.get_or_create(name=name, defaults={"value": 0})

    for label in ("errorkernel", "auth"):
        config = apps.get_app_config(label)
        config.models_module = True  # historical app configs have none, and are skipped without
        create_permissions(config, apps=apps, verbosity=0)
        config.models_module = None
    groups = apps.get_model("auth", "Group")
    permissions = apps.get_model("auth", "Permission").objects

    def of(label, names):
        return list(permissions.filter(content_type__app_label=label, codename__in=names))

    view = of("errorkernel", [f"view_{model}" for model in VIEW])
    answer = of("errorkernel", ["answer_incident"])
    administer = of("errorkernel", [f"{verb}_{model}" for verb in ("add", "change", "delete", "view") for model in ADMINISTER])
    people = of("auth", [f"{verb}_user" for verb in ("add", "change", "view")] + ["view_group"])
    for name, granted in (
        ("viewer", view),
        ("operator", view + answer),
        ("administrator", view + answer + administer + people),
    ):
        group, _ = groups.objects.get_or_create(name=name)
        group.permissions.add(*granted)


class Migration(migrations.Migration):
    dependencies = [
        ("errorkernel", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
