"""Operators who answer over HTTP, all of them everything, at the same time; each keeps what it was told.

An answer whose reply was lost is sent again under the same request id, until there is one: only then does the operator
know who has won.
"""

import json
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

TIMEOUT_S = 4.0
LOOKS_S = (0.1, 0.8)
TAKES_UP = 0.7
ACTIONS = ("continue",) * 13 + ("kill",) * 6 + ("stop",)


@dataclass(frozen=True, slots=True)
class Told:
    """What one operator sent, and what it was told: who has answered, and what; ``by`` empty: nobody asks any more."""

    operator: str
    incident: UUID
    sent: str
    request_id: str
    by: str
    action: str
    decision: UUID | None
    """Only told to who has won."""


class Operator:
    """One of them, as a thread."""

    def __init__(self, name: str, token: str, http_url: str, seed: int) -> None:
        self.name = name
        self.told: list[Told] = []
        self.unanswered: dict[UUID, tuple[str, str]] = {}
        """Incident → (action, request id) that were sent and brought no reply yet."""
        self.strange: list[str] = []
        """Replies that no operator should ever get."""
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._http_url = http_url
        self._dice = random.Random(f"{seed} {name}")  # noqa: S311 - repeatable on purpose
        self._done: set[UUID] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(TIMEOUT_S * 3)

    def _work(self) -> None:
        while not self._end.wait(self._dice.uniform(*LOOKS_S)):
            found = self._call("/api/v1/incidents?state=open&limit=200", None)
            for incident, (action, request_id) in list(self.unanswered.items()):
                self._answer(incident, action, request_id)
            for one in found[1]["items"] if found and found[0] == 200 else ():
                incident = UUID(one["id"])
                if incident not in self._done and self._dice.random() < TAKES_UP:
                    self._done.add(incident)
                    self._answer(incident, self._dice.choice(ACTIONS), f"{self.name}-{len(self._done)}")

    def _answer(self, incident: UUID, action: str, request_id: str) -> None:
        self.unanswered[incident] = action, request_id
        body = {"action": action, "request_id": request_id, "reason": f"{self.name} says {action}"}
        got = self._call(f"/api/v1/incidents/{incident}/decision", body)
        if got is None or got[0] >= 500:
            return
        status, said = got
        del self.unanswered[incident]
        if status not in (200, 409):
            self.strange.append(f"{self.name} was told {status} {said} about {incident}")
            return
        self.told.append(
            Told(
                operator=f"user:{self.name}",
                incident=incident,
                sent=action,
                request_id=request_id,
                by=said.get("by" if status == 200 else "winner") or "",
                action=said.get("action") or "",
                decision=UUID(said["decision_id"]) if status == 200 else None,
            )
        )

    def _call(self, path: str, body: Mapping[str, str] | None) -> tuple[int, Any] | None:
        """None where nothing came back."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._http_url + path, data, self._headers)  # noqa: S310 - our own server
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as exc:
            try:
                return exc.code, json.loads(exc.read())
            except (OSError, ValueError):
                return (exc.code, {}) if exc.code >= 500 else None
        except (OSError, ValueError, urllib.error.URLError):
            return None
        except Exception as exc:
            # http.client has exceptions of its own for a server that ends in mid-sentence.
            if type(exc).__module__ != "http.client":
                raise
            return None
