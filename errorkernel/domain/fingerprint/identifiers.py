"""Whether a run of letters and digits is an identifier that somebody made up (``8f3a2b1c``, ``cus_NffrFeUfNV2Hib``,
``01HF7YAT00ZQ8M3K5J9XVB2C4D``) or a name with a number (``worker-12``, ``facade01``).

Nothing marks an identifier but its disorder: letters and digits, or capitals and small letters, change places more
often than in anything that a person wrote. So the pieces of one kind are counted.
"""

import re

_PIECES = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_NAME_AND_NUMBER = re.compile(r"[A-Za-z]+\d{1,4}")
_HEX = re.compile(r"[0-9a-f]{7,}|[0-9A-F]{7,}")
_DIGITS = re.compile(r"\d+")
_UUID = re.compile(r"(?<![A-Za-z0-9])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![A-Za-z0-9])")
_UUID_CHARS = 36
_POD_SUFFIX = re.compile(r"[bcdfghjklmnpqrstvwxz\d]{5}(?=_|\Z)")
"""Kubernetes ends a pod's name so, after the hash of its replica set; five letters of it may look like a word."""
_LONG = 16
_UPPER_ID = 12


def masked(run: str) -> str:
    """``run`` (ASCII letters and digits, joined by ``-`` and ``_``) with its identifiers and numbers masked."""
    if len(run) > _UUID_CHARS:  # job_550e8400-e29b-…
        run = _UUID.sub("<id>", run)
    if "-" not in run:
        return _part(run)
    parts = run.split("-")
    shown = [_part(part) for part in parts]
    for index in range(1, len(parts)):
        if shown[index - 1] == "<id>" and (suffix := _POD_SUFFIX.match(parts[index])):
            shown[index] = "<id>" + parts[index][suffix.end() :]
    return "-".join(shown)


def _part(part: str) -> str:
    if part.isdigit():
        return "<n>"
    if not _DIGITS.search(part):
        return part
    if "_" not in part:
        return _piece(part)
    if _is_mixed_case_disorder(part.replace("_", "")):  # base64url has "_" among its letters
        return "<id>"
    return "_".join([_piece(piece) for piece in part.split("_")])


def _piece(piece: str) -> str:
    if piece.isdigit():
        return "<n>"
    if is_identifier(piece):
        return "<id>"
    return _DIGITS.sub("<n>", piece)


def is_identifier(piece: str) -> bool:
    """Whether ``piece`` (ASCII letters and digits, both) was made up by a program."""
    length = len(piece)
    if length == 4 and piece[0].isdigit() and len(_PIECES.findall(piece)) == 4:
        return True
    if length < 5 or _NAME_AND_NUMBER.fullmatch(piece):
        return piece[:2] in ("0x", "0X")
    if piece[:2] in ("0x", "0X") or length >= _LONG or _HEX.fullmatch(piece):
        return True
    pieces = len(_PIECES.findall(piece))
    if length <= 1.5 * pieces:
        return True
    if length >= _UPPER_ID and piece.isupper() and pieces >= 4:  # base32
        return True
    return length >= 8 and length < 3 * pieces


def _is_mixed_case_disorder(piece: str) -> bool:
    return (
        len(piece) >= 8
        and not (piece.islower() or piece.isupper())
        and bool(_DIGITS.search(piece))
        and len(piece) <= 2 * len(_PIECES.findall(piece))
    )
