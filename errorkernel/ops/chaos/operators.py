"""Operators who decide the same incidents over HTTP at the same time; each keeps its replies.

Some decisions are sent at once and some at the next look, when another actor may have decided already.
"""

from dataclasses import dataclass
from uuid import UUID

from errorkernel.ops.chaos.api_user import ApiUser

ACCEPT_SHARE = 0.7
IMMEDIATE_SHARE = 0.5
ACTIONS = ("continue",) * 13 + ("kill",) * 6 + ("stop",)


@dataclass(frozen=True, slots=True)
class DecisionReply:
    """What an operator sent, and the reply: actor and action. ``by`` empty: the incident is withdrawn."""

    operator: str
    incident: UUID
    sent: str
    request_id: str
    by: str
    action: str
    decision: UUID | None
    """Only in the reply to the winner."""


class Operator(ApiUser):
    def __init__(self, name: str, token: str, http_url: str, seed: int) -> None:
        super().__init__(name, token, http_url, seed)
        self.decision_replies: list[DecisionReply] = []
        self.sent: dict[UUID, str] = {}
        """Incident → the action that was sent, whether or not there was a reply."""
        self._waiting: dict[UUID, tuple[str, str]] = {}
        """Incident → (action, request id): not sent yet, or sent without a reply."""
        self._done: set[UUID] = set()

    @property
    def unanswered(self) -> int:
        return len(self._waiting)

    def step(self, quiet: bool) -> None:
        for incident, (action, request_id) in list(self._waiting.items()):
            self._decide(incident, action, request_id)
        for item in self.items("/api/v1/incidents?state=open&limit=200"):
            incident = UUID(item["id"])
            if incident in self._done or self.dice.random() >= ACCEPT_SHARE:
                continue
            self._done.add(incident)
            action, request_id = self.dice.choice(ACTIONS), f"{self.name}-{len(self._done)}"
            self._waiting[incident] = action, request_id
            if self.dice.random() < IMMEDIATE_SHARE:
                self._decide(incident, action, request_id)

    def _decide(self, incident: UUID, action: str, request_id: str) -> None:
        self.sent[incident] = action
        body = {"action": action, "request_id": request_id, "reason": f"{self.name}: {action}"}
        got = self.call(f"/api/v1/incidents/{incident}/decision", body)
        if got is None:
            return
        status, reply = got
        del self._waiting[incident]
        if status not in (200, 409):
            self.unexpected.append(f"{self.name} received {status} {reply} for {incident}")
            return
        self.decision_replies.append(
            DecisionReply(
                operator=self.actor,
                incident=incident,
                sent=action,
                request_id=request_id,
                by=reply.get("by" if status == 200 else "winner") or "",
                action=reply.get("action") or "",
                decision=UUID(reply["decision_id"]) if status == 200 else None,
            )
        )
