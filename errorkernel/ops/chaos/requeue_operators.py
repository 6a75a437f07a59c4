"""Operators who requeue failed messages over HTTP; several choose the same messages."""

from dataclasses import dataclass
from uuid import UUID

from errorkernel.ops.chaos.api_user import ApiUser

ENDED = "applied,failed,stale,withdrawn"
ACCEPT_SHARE = 0.5
DROP_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class RequeueReply:
    """A request and the command that it created; ``command`` None: it was refused."""

    by: str
    incident: UUID
    wish: str
    command: UUID | None


class RequeueOperator(ApiUser):
    pause_range_s = (0.3, 1.2)

    def __init__(self, name: str, token: str, http_url: str, seed: int) -> None:
        super().__init__(name, token, http_url, seed)
        self.requeue_replies: list[RequeueReply] = []
        self._waiting: dict[UUID, tuple[str, str]] = {}
        """Incident → (wish, request id) without a reply."""
        self._count = 0

    @property
    def unanswered(self) -> int:
        return len(self._waiting)

    def step(self, quiet: bool) -> None:
        for incident, (wish, request_id) in list(self._waiting.items()):
            self._give(incident, wish, request_id)
        if quiet or self._waiting:
            return
        ended = [item for item in self.items(f"/api/v1/incidents?state={ENDED}&limit=20&order=desc") if item["message"]]
        # The newest: the other operators choose it as well.
        for item in ended[:2]:
            if self.dice.random() < ACCEPT_SHARE:
                self._count += 1
                wish = "drop" if self.dice.random() < DROP_SHARE else "requeue"
                self._give(UUID(item["id"]), wish, f"{self.name}-{self._count}")

    def _give(self, incident: UUID, wish: str, request_id: str) -> None:
        self._waiting[incident] = wish, request_id
        got = self.call(f"/api/v1/incidents/{incident}/{wish}", {"request_id": request_id, "reason": "once more"})
        if got is None:
            return
        status, reply = got
        del self._waiting[incident]
        if status not in (200, 409):
            self.unexpected.append(f"{self.name} received {status} {reply} for the message of {incident}")
            return
        self.requeue_replies.append(
            RequeueReply(self.actor, incident, wish, UUID(reply["command"]) if status == 200 else None)
        )
