"""Where the static files with hashed names are: inside an installed wheel, or in the data directory."""

from hashlib import sha256
from pathlib import Path

OURS = "errorkernel"
"""Of the static files, only ours get hashed names. Django's change with Django, not with us."""


def sources(static: Path) -> list[Path]:
    """Our files below the directory ``static``, in a stable order."""
    return sorted(path for path in (static / OURS).rglob("*") if path.is_file())


def place(assets: Path, data_dir: Path) -> Path:
    """The directory of the hashed files. A wheel brings it; a checkout has one for each state of its sources."""
    bundled = assets / "hashed"
    if bundled.is_dir():
        return bundled
    digest = sha256()
    for path in sources(assets / "static"):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return data_dir / "assets" / digest.hexdigest()[:16]
