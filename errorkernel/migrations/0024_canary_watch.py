from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def carry_over(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Those that were being watched during the upgrade are watched for as long as they were meant to be."""
    answers = apps.get_model("errorkernel", "BulkAnswer").objects
    for one in answers.filter(watch_until__isnull=False, confirmed_at__isnull=False):
        one.watch_s = round((one.watch_until - one.confirmed_at).total_seconds())
        one.save(update_fields=["watch_s"])


class Migration(migrations.Migration):
    dependencies = [("errorkernel", "0023_broker_stream_stored_to")]

    operations = [
        migrations.AddField(
            model_name="bulkanswer",
            name="watch_s",
            field=models.IntegerField(
                blank=True, help_text="How long the first one is watched, in seconds, once it was carried out.", null=True
            ),
        ),
        migrations.RunPython(carry_over, migrations.RunPython.noop),
        migrations.RemoveField(model_name="bulkanswer", name="watch_until"),
    ]
