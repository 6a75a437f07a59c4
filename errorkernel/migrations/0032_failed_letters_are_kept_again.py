from django.db import migrations

_SAME = " AND ".join(f"other.{one} = errorkernel_deadletter.{one}" for one in ("process_id", "problem_id", "digest"))
# One of a message: the latest that was sent again, where none is kept.
KEEP_AGAIN = (
    "UPDATE errorkernel_deadletter SET state = 'kept' WHERE state = 'sent again'"
    " AND 'failed' = (SELECT requeue.state FROM errorkernel_requeue AS requeue"
    " WHERE requeue.letter_id = errorkernel_deadletter.id ORDER BY requeue.created_at DESC LIMIT 1)"
    f" AND NOT EXISTS (SELECT 1 FROM errorkernel_deadletter AS other WHERE {_SAME}"
    " AND (other.state = 'kept' OR (other.state = 'sent again' AND other.id > errorkernel_deadletter.id)))"
)


class Migration(migrations.Migration):

    dependencies = [
        ('errorkernel', '0031_hour_count'),
    ]

    operations = [
        migrations.RunSQL(KEEP_AGAIN, migrations.RunSQL.noop),
    ]
