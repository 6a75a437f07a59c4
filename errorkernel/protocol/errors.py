"""The error for input that violates the protocol."""


class ProtocolError(ValueError):
    """Input that is not what the contract says. ``reason`` is a short stable word (a metric label); str() explains."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
