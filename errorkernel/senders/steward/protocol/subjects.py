"""The subjects that nodes of Steward and ctrl publish errors to, and the stream that stores them."""

ERROR_SUBJECTS = ("errorCentral.REQErrorLog.EventACK", "errorCentral.REQErrorLog", "errorCentral.errorLog")
"""Of Steward; of ctrl until November 2024; of ctrl since. Not wider, because acknowledgements use subjects below
them."""
TOKENS = ("EventACK", "EventNACK", "CommandACK", "CommandNACK")
"""Last tokens of Steward's subjects; the commands until 27 January 2022."""
ERROR_STREAM = "EK_STEWARD"


def is_reply_subject(subject: str) -> bool:
    """Whether it is a subject of acknowledgements, which have no content."""
    return subject.endswith(".reply")
