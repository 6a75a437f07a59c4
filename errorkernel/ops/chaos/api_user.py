"""A user of the API over HTTP in a thread of its own: the base of operators, requeue operators and rule editors."""

import json
import random
import threading
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_S = 4.0


class ApiUser:
    """``step`` is done again and again, with a pause of ``looks_s`` between, until ``stop``.

    What a person sends is repeated under the same request id until there is a reply: only then do they know what came
    of it.
    """

    pause_range_s = (0.1, 0.8)

    def __init__(self, name: str, token: str, http_url: str, seed: int) -> None:
        self.name = name
        self.actor = f"user:{name}"
        self.unexpected: list[str] = []
        """Replies that nobody should ever get."""
        self.dice = random.Random(f"{seed} {name}")  # noqa: S311 - repeatable on purpose
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._http_url = http_url
        self._end = threading.Event()
        self._quiet = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def unanswered(self) -> int:
        """How many requests have been sent and brought no reply yet."""
        raise NotImplementedError

    def step(self, quiet: bool) -> None:
        """``quiet``: nothing new is to be begun any more but what ends the run."""
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def wind_down(self) -> None:
        """The run is to come to an end."""
        self._quiet.set()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(TIMEOUT_S * 3)

    def _work(self) -> None:
        try:
            while not self._end.wait(self.dice.uniform(*self.pause_range_s)):
                self.step(self._quiet.is_set())
        except Exception as exc:
            # A reply that nobody can read, most likely: without this the run would go on with one person less.
            self.unexpected.append(f"{self.name} could not go on: {exc!r}")

    def items(self, path: str) -> list[dict[str, Any]]:
        """The first page of a list; nothing where nothing came back."""
        found = self.call(path)
        return list(found[1]["items"]) if found and found[0] == 200 else []

    def call(self, path: str, body: object = None, method: str = "") -> tuple[int, Any] | None:
        """(status, decoded body); None where nothing came back, or nothing that says what was done."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - our own server
            self._http_url + path, data, self._headers, method=method or ("GET" if data is None else "POST")
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as exc:
            try:
                return (exc.code, json.loads(exc.read())) if exc.code < 500 else None
            except (OSError, ValueError):
                return None
        except (OSError, ValueError):
            return None
        except Exception as exc:
            # http.client has exceptions of its own for a server that ends in mid-sentence.
            if type(exc).__module__ != "http.client":
                raise
            return None
