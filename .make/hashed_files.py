"""Hatchling's hook: the wheel brings our static files with hashed names. A checkout makes them at its start."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class HashedFiles(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        self._made = tempfile.TemporaryDirectory(prefix="steward-hashed-")
        target = Path(self._made.name) / "hashed"
        make = [sys.executable, "-m", "errorkernel.web.assets.build", str(root / "static"), str(target)]
        subprocess.run(make, cwd=root, check=True)
        build_data["force_include"][str(target)] = "steward_site/bundled/hashed"
