"""What the models cannot say: triggers, the three groups with their permissions, and the counters.

Nothing has been released, so there are two migrations: ``0001_initial`` is generated from the models, this one is
written by hand. After a change of the models, generate the first one again: ``python -m tests.support.initial_migration``.
From the first release on, changes are migrations of their own, and neither of the two is touched again.
"""

from django.db import migrations

SQLITE = """
CREATE TRIGGER audit_no_{verb} BEFORE {VERB} ON errorkernel_auditentry
BEGIN SELECT RAISE(ABORT, 'audit entries are never changed or removed'); END
"""
# INSERT OR REPLACE removes the old row without running the triggers of a delete. Before its id is known, a new row's
# is -1.
SQLITE_REPLACE = """
CREATE TRIGGER audit_no_replace BEFORE INSERT ON errorkernel_auditentry
WHEN NEW.id > 0 AND EXISTS (SELECT 1 FROM errorkernel_auditentry WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit entries are never changed or removed'); END
"""
POSTGRESQL_FUNCTION = """
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit entries are never changed or removed'; END $$
"""
POSTGRESQL = """
CREATE TRIGGER audit_no_{verb} BEFORE {VERB} ON errorkernel_auditentry
FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
"""


def make_audit_append_only(apps, schema_editor):
    """The database refuses to change or remove audit rows, whoever asks: our own code, the admin, a console."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_FUNCTION)
        for verb in ("update", "delete", "truncate"):
            schema_editor.execute(POSTGRESQL.format(verb=verb, VERB=verb.upper()))
        return
    for verb in ("update", "delete"):
        schema_editor.execute(SQLITE.format(verb=verb, VERB=verb.upper()))
    schema_editor.execute(SQLITE_REPLACE)


def drop_audit_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION audit_is_append_only() CASCADE")
        return
    for verb in ("update", "delete", "replace"):
        schema_editor.execute(f"DROP TRIGGER audit_no_{verb}")


COUNTERS = ("acted", "changes", "events", "nodes", "rules")


def make_counters(apps, schema_editor):
    counter = apps.get_model("errorkernel", "Counter")
    counter.objects.bulk_create([counter(name=name, value=0) for name in COUNTERS], ignore_conflicts=True)


_VIEWED = (
    "auditentry", "deadletter", "decision", "errorevent", "errorstate", "incarnation", "incident", "kernelheartbeat",
    "node", "problem", "comment", "process", "rejectedevent", "rule",
)
_ADMINISTERED = ("apitoken", "node", "rejectedevent")
VIEWER = {("errorkernel", model, "view") for model in _VIEWED}
OPERATOR = VIEWER | {("errorkernel", "incident", "decide"), ("errorkernel", "rule", "change")}
ADMINISTRATOR = (
    OPERATOR
    | {("errorkernel", model, verb) for model in _ADMINISTERED for verb in ("add", "change", "delete", "view")}
    | {("errorkernel", "accessdenial", "view"), ("auth", "group", "view")}
    | {("auth", "user", verb) for verb in ("add", "change", "view")}
)
"""(app, model, verb) of each permission of a group."""
GROUPS = {"viewer": VIEWER, "operator": OPERATOR, "administrator": ADMINISTRATOR}


def make_groups(apps, schema_editor):
    """Django makes permissions only after all migrations have run, so the ones that groups need are made here, under
    the names that Django gives them."""
    types = {}
    for app, model in {(app, model) for app, model, _ in ADMINISTRATOR}:
        types[app, model], _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
            app_label=app, model=model
        )
    permissions = apps.get_model("auth", "Permission").objects
    made = {}
    for app, model, verb in sorted(ADMINISTRATOR):
        made[app, model, verb], _ = permissions.get_or_create(
            content_type=types[app, model],
            codename=f"{verb}_{model}",
            defaults={"name": _name_of(apps.get_model(app, model), verb)},
        )
    for name, granted in GROUPS.items():
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=name)
        group.permissions.add(*(made[key] for key in sorted(granted)))


def _name_of(model, verb):
    own = dict(model._meta.permissions)
    return own.get(f"{verb}_{model._meta.model_name}") or f"Can {verb} {model._meta.verbose_name_raw}"


class Migration(migrations.Migration):
    dependencies = [
        ("errorkernel", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [
        migrations.RunPython(make_audit_append_only, drop_audit_triggers),
        migrations.RunPython(make_counters, migrations.RunPython.noop),
        migrations.RunPython(make_groups, migrations.RunPython.noop),
    ]
