"""The subjects that nodes of Steward and ctrl publish errors to, and the stream that stores them."""

ERROR_SUBJECTS = ("errorCentral.REQErrorLog.EventACK", "errorCentral.REQErrorLog", "errorCentral.errorLog")
"""Of Steward; of ctrl until November 2024; of ctrl since. Nothing wider: acknowledgements travel below them."""
ERROR_STREAM = "EK_STEWARD"


def is_reply_subject(subject: str) -> bool:
    """Whether acknowledgements travel on it: there is nothing to decode."""
    return subject.endswith(".reply")
