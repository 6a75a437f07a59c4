"""Why an operation is not possible, for a person and for a program."""


class OperationRefused(Exception):
    """The operation is not possible; the message is one sentence for the person.

    ``code``: stable identifier for programs (``web.schemas.errors`` lists all). ``field``: the invalid field of the
    request, if it is one. ``position``: of the mistake in that field, in characters from 0.
    """

    def __init__(self, message: str, code: str, field: str = "", position: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.position = position
