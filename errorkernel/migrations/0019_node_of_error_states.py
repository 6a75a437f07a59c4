import django.db.models.deletion
from django.db import migrations, models


def _fill(apps, schema_editor):
    schema_editor.execute(
        "UPDATE errorkernel_errorstate SET node_id ="
        " (SELECT p.node_id FROM errorkernel_process p WHERE p.id = errorkernel_errorstate.process_id)"
    )


class Migration(migrations.Migration):
    dependencies = [("errorkernel", "0018_stream_standing")]

    operations = [
        migrations.AddField(
            "errorstate",
            "node",
            models.ForeignKey(
                db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE,
                related_name="+", to="errorkernel.node",
            ),
        ),  # fmt: skip
        migrations.RunPython(_fill, migrations.RunPython.noop),
        migrations.AlterField(
            "errorstate",
            "node",
            models.ForeignKey(
                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+",
                to="errorkernel.node", help_text="That of the process: a node's latest states come out of one index.",
            ),
        ),  # fmt: skip
        migrations.AddIndex(
            "errorstate", models.Index(fields=["node", "-last_seen"], name="error_state_node")
        ),
    ]
