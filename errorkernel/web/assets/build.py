"""Makes the static files with hashed names: ``python -m errorkernel.web.assets.build STATIC TARGET``.

It happens when the wheel is built, and at the start of a checkout whose files have changed. Needs no settings of ours.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from errorkernel.web.assets.place import sources

_IMPORTED = re.compile(r'^@import url\("([^"]+)"\);$\n?', re.MULTILINE)


def build(static: Path, target: Path) -> None:
    """Make ``target`` from our files below ``static``. It appears as a whole; of two processes that make it at once,
    one does. Raises OSError."""
    from errorkernel.web.assets.storage import HashedFiles

    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix="new-"))
    try:
        names = []
        for path in sources(static):
            names.append(path.relative_to(static).as_posix())
            plain = made / names[-1]
            plain.parent.mkdir(exist_ok=True)
            plain.write_bytes(_joined(path) if path.suffix == ".css" else path.read_bytes())
        HashedFiles(location=made).hash_all(names)
        made.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _joined(stylesheet: Path) -> bytes:
    """The stylesheet with what it imports put in its place: one request instead of several."""

    def imported(found: re.Match[str]) -> str:
        return (stylesheet.parent / found[1]).read_text()

    return _IMPORTED.sub(imported, stylesheet.read_text()).encode()


if __name__ == "__main__":
    from django.conf import settings

    settings.configure(STATIC_URL="/static/")
    build(Path(sys.argv[1]), Path(sys.argv[2]))
