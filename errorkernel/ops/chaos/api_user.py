"""A user of the API over HTTP in a thread of its own: the base of operators, requeue operators and rule editors."""

import json
import random
import threading
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_S = 4.0


class ApiUser:
    """Repeats ``step``, with pauses of ``pause_range_s``, until ``stop``.

    A request is repeated with the same request id until there is a reply.
    """

    pause_range_s = (0.1, 0.8)

    def __init__(self, name: str, token: str, http_url: str, seed: int) -> None:
        self.name = name
        self.actor = f"user:{name}"
        self.unexpected: list[str] = []
        """Replies that violate the API."""
        self.dice = random.Random(f"{seed} {name}")  # noqa: S311 - repeatable on purpose
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._http_url = http_url
        self._end = threading.Event()
        self._quiet = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def unanswered(self) -> int:
        """Number of requests without a reply."""
        raise NotImplementedError

    def step(self, quiet: bool) -> None:
        """``quiet``: begin only what helps to end the run."""
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def wind_down(self) -> None:
        """Begin nothing new."""
        self._quiet.set()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(TIMEOUT_S * 3)

    def _work(self) -> None:
        try:
            while not self._end.wait(self.dice.uniform(*self.pause_range_s)):
                self.step(self._quiet.is_set())
        except Exception as exc:
            # Probably an unreadable reply: without this the run would continue without this user.
            self.unexpected.append(f"{self.name} stopped: {exc!r}")

    def items(self, path: str) -> list[dict[str, Any]]:
        """The first page of a list; empty without a reply."""
        found = self.call(path)
        return list(found[1]["items"]) if found and found[0] == 200 else []

    def call(self, path: str, body: object = None, method: str = "") -> tuple[int, Any] | None:
        """(status, decoded body); None without a reply, or when the reply leaves the result open."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - our own server
            self._http_url + path, data, self._headers, method=method or ("GET" if data is None else "POST")
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as exc:
            try:
                return (exc.code, json.loads(exc.read())) if exc.code < 500 else None
            except (OSError, ValueError):
                return None
        except (OSError, ValueError):
            return None
        except Exception as exc:
            # http.client has exceptions of its own for a server that ends in the middle of a response.
            if type(exc).__module__ != "http.client":
                raise
            return None
