"""The database refuses to change or remove audit rows, whoever asks: our own code, the admin, a console."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

SQLITE = """
CREATE TRIGGER audit_no_{verb} BEFORE {VERB} ON errorkernel_auditentry
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


def refuse(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_FUNCTION)
        verbs, statement = ("update", "delete", "truncate"), POSTGRESQL
    else:
        verbs, statement = ("update", "delete"), SQLITE
    for verb in verbs:
        schema_editor.execute(statement.format(verb=verb, VERB=verb.upper()))


def allow(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION audit_is_append_only() CASCADE")
        return
    for verb in ("update", "delete"):
        schema_editor.execute(f"DROP TRIGGER audit_no_{verb}")


class Migration(migrations.Migration):
    dependencies = [
        ("errorkernel", "0002_groups_and_counters"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.AlterField(
            "auditentry",
            "user",
            models.ForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.RunPython(refuse, allow),
    ]
