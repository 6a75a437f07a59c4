"""``python -m errorkernel.ops.chaos.prepare NODE,… OPERATOR,…``: makes the scratch database and its users.

Prints one JSON object: ``nodes`` (name → credentials without addresses), ``tokens`` (operator → API token).
"""

import json
import os
import sys
from datetime import UTC, datetime

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "steward_site.settings")
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from errorkernel.ops.chaos import policy
    from errorkernel.store import nodes
    from errorkernel.store.accounts import api_tokens
    from errorkernel.store.platform.actor import Actor
    from errorkernel.store.rules import changes

    names, operators = sys.argv[1].split(","), sys.argv[2].split(",")
    now = datetime.now(UTC)
    call_command("migrate", verbosity=0, interactive=False)
    made = {}
    for name in names:
        node = nodes.add_node(name, actor=Actor.system(now))
        made[name] = {"node": name, "nkey_seed": node.nkey_seed, "token": node.token}
    token_of = {}
    for name in operators:
        owner = get_user_model().objects.create_superuser(name)
        token_of[name] = api_tokens.add(owner, actor=Actor.system(now))
    for definition in policy.rule_definitions():
        changes.add(definition, actor=Actor.system(now))
    print(json.dumps({"nodes": made, "tokens": token_of}))  # noqa: T201


if __name__ == "__main__":
    main()
