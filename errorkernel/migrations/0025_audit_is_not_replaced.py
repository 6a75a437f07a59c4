"""SQLite's INSERT OR REPLACE takes the old row away without asking the triggers of a delete: what is there stays."""

from django.db import migrations

# Before its number is known, a new row's is -1.
NO_REPLACE = """
CREATE TRIGGER audit_no_replace BEFORE INSERT ON errorkernel_auditentry
WHEN NEW.id > 0 AND EXISTS (SELECT 1 FROM errorkernel_auditentry WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit entries are never changed or removed'); END
"""


def refuse(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":  # others have no such statement
        schema_editor.execute(NO_REPLACE)


def allow(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("DROP TRIGGER audit_no_replace")


class Migration(migrations.Migration):
    dependencies = [("errorkernel", "0024_canary_watch")]
    operations = [migrations.RunPython(refuse, allow)]
