"""Static files under names that contain their hash, so that browsers keep them for ever.

A stylesheet's ``@import`` and a script's ``import`` name other files: those names are replaced as well. Where no hashed
files were made (with ``STEWARD_DEBUG``, or on a data directory that cannot be written), the plain names are used.
"""

import re
from functools import cached_property
from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage

ENTRANCE = "errorkernel/console.js"
"""The module that every page of the console loads."""
_IMPORT = re.compile(r'^(?:import|export)\b[^";]*"\./([^"]+)";$', re.MULTILINE)


class HashedFiles(CompressedManifestStaticFilesStorage):
    """Django's storage with a manifest, compressed by WhiteNoise (gzip and brotli)."""

    support_js_module_import_aggregation = True
    keep_only_hashed_files = True

    def stored_name(self, name: str) -> str:
        """The hashed name of ``name``, or ``name`` where there is none."""
        return str(self.hashed_files.get(self.hash_key(self.clean_name(name)), name))

    @cached_property
    def modules(self) -> list[str]:
        """The hashed names of all modules that ``ENTRANCE`` needs, itself first; empty without hashed files.

        A page lists them, so that the browser asks for all at once and not for one level of imports after the other.
        """
        found: dict[str, None] = {}
        pending = [self.stored_name(ENTRANCE)] if self.hashed_files else []
        while pending:
            name = pending.pop(0)
            if name not in found:
                found[name] = None
                text = self.open(name).read().decode()
                pending += [f"{name.rpartition('/')[0]}/{imported}" for imported in _IMPORT.findall(text)]
        return list(found)

    def hash_all(self, names: list[str]) -> None:
        """Give the stored files ``names`` their hashed names, and compress them. Raises what Django found wrong."""
        paths: dict[str, Any] = {name: (self, name) for name in names}
        for _name, _hashed, outcome in self.post_process(paths):
            if isinstance(outcome, Exception):
                raise outcome
