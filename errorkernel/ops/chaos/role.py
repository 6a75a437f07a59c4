"""``python -m errorkernel.ops.chaos.role kernel|web …``: the product's own command, with short periods.

Where ``STEWARD_CHAOS_BREAK`` names a protection, it is off in this process.
"""

import os

import django

from errorkernel.ops.chaos import periods, sabotage


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "steward_site.settings")
    django.setup()
    periods.hasten_kernel()
    sabotage.break_kernel()
    from steward_site import cli

    cli.main()


if __name__ == "__main__":
    main()
