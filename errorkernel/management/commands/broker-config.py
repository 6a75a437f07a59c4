from typing import Any

from errorkernel import conf
from errorkernel.broker.access import own_access
from errorkernel.broker.config import MAX_PAYLOAD_BYTES, render_accounts
from errorkernel.broker.credentials import public_nkey
from errorkernel.management.base import StewardCommand
from errorkernel.store import fleet


class Command(StewardCommand):
    help = "Print the nats-server configuration for a broker that we do not start ourselves."

    def handle(self, *args: Any, **options: Any) -> None:
        settings = conf.get()
        seed = own_access(settings).seed
        if not seed:
            raise conf.ConfError("STEWARD_NATS_SEED_FILE must name the file with our own nkey seed.")
        self.stdout.write(
            "# Users and permissions for the Steward error kernel; print it again when nodes change.\n"
            "# The kernel makes the streams EK_EVENTS and EK_DECISIONS itself.\n"
            f"max_payload: {MAX_PAYLOAD_BYTES}\n"
            f"jetstream {{ max_file_store: {settings.stream_max_bytes * 2} }}\n"
            + render_accounts(public_nkey(seed), fleet.broker_users())
        )
