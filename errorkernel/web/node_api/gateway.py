"""HTTP for nodes: their events go into JetStream, and they fetch their decisions.

An event over HTTP equals one over NATS: its exact bytes are stored under its node's subject, and 202 is sent only after
JetStream has it. Its id makes repetitions harmless. The kernel is not needed to accept events, and does not run in this
process.

Free of Django's HTTP on purpose: it takes a mapping and chunks and gives a ``Response``, so that it can stand in front
of Django as its own small ASGI application. Errors are mapped to statuses in one place, ``_answer_errors``.
"""

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import InterfaceError, OperationalError

from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerRefused, ShareFull
from errorkernel.domain.incident_state import State
from errorkernel.domain.limits import Limits
from errorkernel.domain.rate_limit import RateLimit
from errorkernel.platform import metrics
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import commands, json_codec, lenient_json, message_ids, subjects
from errorkernel.protocol.errors import ProtocolError, explain
from errorkernel.store.incidents import requeues
from errorkernel.store.ingest import rejected_events
from errorkernel.web.auth import denied_requests
from errorkernel.web.node_api import bodies
from errorkernel.web.node_api.decision_waits import (
    Announce,
    DecisionWaits,
    TooManyWaits,
    UnknownHere,
    WaitIncident,
    Withdrawn,
)
from errorkernel.web.node_api.tokens import NodeTokens
from errorkernel.web.schemas.common import (
    EventsAccepted,
    NoEventsAccepted,
    OutcomeAccepted,
    Refusal,
    UnknownIncident,
)
from errorkernel.web.schemas.errors import MEDIA_TYPE, ErrorBody, body_of

log = logging.getLogger("errorkernel.gateway")

WAIT_MAX_S = 60.0
PUBLISH_WINDOW = 256
RETRY_AFTER_S = 2
WAITS_RETRY_AFTER_S = 5
"""For a node with too many waits: long, since a thousand of them that come again each cost a connection."""
WAITS_RETRY_AFTER_S = 5
"""For a node with too many waits: long, since a thousand of them that come again each cost a connection."""
YIELD_BYTES = 128 * 1024

DATABASE_AWAY = (OperationalError, InterfaceError)

CLIENT = ":client"
"""The sender's address among the headers of a request: no header of its own can have this name."""


@dataclass(frozen=True, slots=True)
class Response:
    """``body`` is JSON, or empty with 204."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The request ends here with this error."""

    def __init__(self, body: ErrorBody, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body.detail)
        self.response = _error(body, headers)


class Gateway:
    """One a web process; all its methods run in that process's event loop.

    ``connection`` gives the connection or raises BrokerAway, ``wait_incident`` returns when that incident changed or
    after the seconds given, ``announce`` publishes changed incidents.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        connection: Callable[[], Awaitable[Connection]],
        threads: DatabaseThreads,
        wait_incident: WaitIncident,
        announce: Announce,
    ) -> None:
        self._limits = limits
        self._connection = connection
        self._threads = threads
        self._announce = announce
        self._waits = DecisionWaits(threads, wait_incident=wait_incident, announce=announce, per_node=limits.node_waits)
        self._rate = RateLimit(limits.node_rate_per_s, limits.node_burst)
        self._tokens = NodeTokens(threads)

    async def post_events(self, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> Response:
        """``POST /api/v1/events``. ``headers``: lower-case names."""
        return await _answer_errors(self._post_events(headers, chunks))

    async def get_decision(self, headers: Mapping[str, str], incident_id: str, wait: Sequence[str]) -> Response:
        """``GET /api/v1/incidents/{id}/decision?wait=``: 200 the decision, 204 none yet, 404.

        ``wait``: its values in the address; one or none is right. 404 also if the incident was withdrawn, with
        ``"state": "withdrawn"``: no decision will follow, and after 204 a client would ask for ever. An unknown
        incident is waited for first, with any ``wait``: its event may have been accepted a moment ago and has no
        decision yet (204).
        """
        return await _answer_errors(self._get_decision(headers, incident_id, wait))

    async def post_outcome(
        self, headers: Mapping[str, str], incident_id: str, chunks: AsyncIterator[bytes]
    ) -> Response:
        """``POST /api/v1/incidents/{id}/outcome``: 202 once JetStream has it; ``v`` and ``incident`` may be missing."""
        return await _answer_errors(self._post_outcome(headers, incident_id, chunks))

    async def get_commands(self, headers: Mapping[str, str]) -> Response:
        """``GET /api/v1/commands``: 200 with all commands whose outcome the node has not body yet, oldest first.

        They count as received. A node executes each id once, because a command is listed until its outcome has arrived.
        """
        return await _answer_errors(self._get_commands(headers))

    async def _post_events(self, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> Response:
        node = await self._node(headers)
        self._charge(node, 0)
        try:
            body = await bodies.read(headers, chunks, self._limits)
            items = bodies.split(headers.get("content-type", ""), body, self._limits)
        except bodies.BodyError as exc:
            await self._turn_away(node, exc)
            raise
        self._charge(node, max(1, len(items)))
        valid, rejected, refusals = await self._validate(node, items)
        refused = await self._publish(node, valid)
        rejected += [Refusal(index, str(exc)) for index, exc in refused.items()]
        rejected.sort(key=lambda refusal: refusal.index)
        await self._quarantine(refusals)
        accepted = [event_id for index, event_id, _ in valid if index not in refused]
        if rejected and not accepted:
            detail = "None of the events can be accepted."
            return _error(
                body_of("no_event_accepted", detail, shape=NoEventsAccepted, accepted=accepted, rejected=rejected),
                self._rate_headers(node),
            )
        return _json(202, EventsAccepted(accepted, rejected), self._rate_headers(node))

    async def _validate(
        self, node: str, items: list[bytes]
    ) -> tuple[list[tuple[int, UUID, bytes]], list[Refusal], list[rejected_events.Refusal]]:
        valid, rejected, refusals, seen_bytes = [], [], [], 0
        for index, item in enumerate(items):
            try:
                valid.append((index, json_codec.decode_event(item, self._limits).id, item))
            except ProtocolError as exc:
                rejected.append(Refusal(index, str(exc)))
                refusals.append(_refusal(node, exc.reason, str(exc), item))
            seen_bytes += len(item)
            if seen_bytes > YIELD_BYTES:
                seen_bytes = 0
                await asyncio.sleep(0)
        return valid, rejected, refusals

    async def _publish(self, node: str, events: list[tuple[int, UUID, bytes]]) -> dict[int, BrokerRefused]:
        """Store all of them, in their order, many at a time; returns those that the broker will never take.

        Raises BrokerAway where one could not be stored now: the client repeats all, the ids make that harmless.
        """
        if not events:
            return {}
        connection, subject = await self._connection(), subjects.event(node)
        refused: dict[int, BrokerRefused] = {}
        for start in range(0, len(events), PUBLISH_WINDOW):
            window = events[start : start + PUBLISH_WINDOW]
            stored = await asyncio.gather(
                *(_store(connection, subject, event_id, data) for _, event_id, data in window),
                return_exceptions=True,
            )
            for (index, _, _), result in zip(window, stored, strict=True):
                if isinstance(result, BrokerRefused):
                    metrics.count_rejected("broker")
                    refused[index] = result
                elif isinstance(result, BaseException):
                    raise result
        return refused

    async def _get_decision(self, headers: Mapping[str, str], incident_id: str, wait: Sequence[str]) -> Response:
        node = await self._node(headers)
        wait_s, incident = _wait_s(wait), _incident(incident_id)
        self._charge(node, 1)
        try:
            decision = await self._waits.decision(node, incident, wait_s)
        except Withdrawn:
            text = "The incident was withdrawn. It will not be decided."
            raise Refused(body_of("withdrawn", text, shape=UnknownIncident, state=State.WITHDRAWN)) from None
        except UnknownHere:
            raise _unknown() from None
        if decision is None:
            return Response(204)
        await self._waits.report_delivered(incident)
        return Response(200, json_codec.encode_decision(decision), _JSON)

    async def _get_commands(self, headers: Mapping[str, str]) -> Response:
        node = await self._node(headers)
        self._charge(node, 1)
        given = await self._threads.run(requeues.under_way, node)
        if changed := await self._threads.run(_mark_received, [command.id for command in given]):
            await self._announce(changed)
        return _json(200, {"commands": [commands.body(command) for command in given]})

    async def _post_outcome(
        self, headers: Mapping[str, str], incident_id: str, chunks: AsyncIterator[bytes]
    ) -> Response:
        node = await self._node(headers)
        incident = _incident(incident_id)
        self._charge(node, 1)
        body = await bodies.read(headers, chunks, self._limits)
        try:
            data = _complete(body, incident, self._limits)
            outcome = json_codec.decode_outcome(data, self._limits)
            if outcome.incident != incident:
                raise ProtocolError("bad_subject", "The body names another incident than the address.")
        except ProtocolError as exc:
            await self._quarantine([_refusal(node, exc.reason, str(exc), body, incident)])
            raise Refused(body_of("invalid_outcome", str(exc))) from None
        if not await self._is_known(node, incident):
            raise _unknown()
        await _store(await self._connection(), subjects.outcome(node, incident), incident, data)
        return _json(202, OutcomeAccepted([incident]))

    async def _is_known(self, node: str, number: UUID) -> bool:
        """Whether the node must send an outcome: for an incident of its own, or a command that it was given."""
        return await self._threads.run(requeues.is_of, node, number) or await self._waits.is_known(node, number)

    async def _node(self, headers: Mapping[str, str]) -> str:
        """The name of the node whose token it is. Raises Refused (401)."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            metrics.count_rejected("no_token")
            denied_requests.note(headers.get(CLIENT, ""), _DENIED_TARGET)
            text = "A node token is needed: Authorization: Bearer …"
            raise Refused(body_of("unauthenticated", text), headers=_CHALLENGE)
        node = await self._tokens.node(token)
        if node is None:
            metrics.count_rejected("bad_token")
            denied_requests.note(headers.get(CLIENT, ""), _DENIED_TARGET, token)
            raise Refused(
                body_of("invalid_token", "The token is unknown, or its node is disabled."),
                headers={"WWW-Authenticate": _CHALLENGE["WWW-Authenticate"] + ', error="invalid_token"'},
            )
        return node

    def _charge(self, node: str, events: int) -> None:
        """Raises Refused (429). With 0 events: whether the node has anything left at all, before its body is read."""
        wait_s = self._rate.wait_s(node, events, time.monotonic())
        if wait_s > 0:
            metrics.count_rejected("rate", max(1, events))
            raise Refused(
                body_of("rate_limited", "Too many events; wait before sending more."),
                headers=_retry_after(wait_s) | self._rate_headers(node),
            )

    def _rate_headers(self, node: str) -> dict[str, str]:
        """How much the node may still send, as in draft-ietf-httpapi-ratelimit-headers; none without a limit."""
        left = self._rate.left(node, time.monotonic())
        if left is None:
            return {}
        return {
            "RateLimit-Policy": f'"node";q={left.burst};w={math.ceil(left.full_after_s)}',
            "RateLimit": f'"node";r={left.events};t={math.ceil(left.reset_s)}',
        }

    async def _turn_away(self, node: str, exc: bodies.BodyError) -> None:
        if exc.data:
            await self._quarantine([_refusal(node, exc.reason, str(exc), exc.data)])
        else:
            metrics.count_rejected(exc.reason)

    async def _quarantine(self, refusals: list[rejected_events.Refusal]) -> None:
        """Count refused inputs and keep them where an administrator sees them; the answer does not depend on it."""
        if not refusals:
            return
        for refusal in refusals:
            metrics.count_rejected(refusal.reason)
        try:
            await self._threads.run(rejected_events.refuse_all, refusals, now=datetime.now(UTC))
        except DATABASE_AWAY:
            log.exception("%d refused inputs could not be kept", len(refusals))


_JSON = {"Content-Type": "application/json"}
_DENIED_TARGET = "/api/v1/"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="steward"'}


async def _answer_errors(work: Awaitable[Response]) -> Response:
    """Every way to fail, to its status. What is none of these is a fault of ours, and shows as one."""
    try:
        return await work
    except Refused as exc:
        return exc.response
    except TooManyWaits:
        metrics.count_rejected("waits")
        text = "Too many requests of this node wait; ask again later."
        return _error(body_of("too_many_waits", text), _retry_after(WAITS_RETRY_AFTER_S))
    except bodies.BodyError as exc:
        if exc.status != 400:
            return _error(body_of(exc.code, str(exc)))
        rejected = [Refusal(0, str(exc))]
        return _error(body_of(exc.code, str(exc), shape=NoEventsAccepted, accepted=[], rejected=rejected))
    except ShareFull as exc:
        metrics.count_rejected("share")
        log.warning("A node's request is put off, its share of the stream is full: %s", exc)
        return _unavailable(
            "stream_share_full", "Too many events of this node are not stored yet. Send all of it again."
        )
    except BrokerAway as exc:
        log.warning("A node's request is put off, the broker is away: %s", exc)
        return _unavailable("broker_unavailable", "The broker is away. Send all of it again.")
    except BrokerRefused as exc:
        log.error("The broker does not take what a node sent: %s", exc)
        return _unavailable("broker_unavailable", "The broker does not accept this now. Send it again later.")
    except DATABASE_AWAY:
        log.exception("A node's request is put off, the database is away")
        return _unavailable("database_unavailable", "The database is away. Send all of it again.")


def _json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, msgspec.json.encode(body), {**_JSON, **(headers or {})})


def _error(body: ErrorBody, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body.status, msgspec.json.encode(body), {"Content-Type": MEDIA_TYPE, **(headers or {})})


def _unavailable(code: str, detail: str) -> Response:
    return _error(body_of(code, detail), _retry_after(RETRY_AFTER_S))


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, int(-(-seconds // 1))))}


def _unknown() -> Refused:
    return Refused(body_of("not_found", "This node has no such incident."))


def _incident(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _unknown() from None


def _wait_s(given: Sequence[str]) -> float:
    if len(given) > 1:
        raise Refused(body_of("repeated_parameter", f"'wait' is given {len(given)} times.", field="wait"))
    try:
        wait_s = float(given[0]) if given and given[0] else 0.0
    except ValueError:
        wait_s = math.nan
    if not math.isfinite(wait_s):
        raise Refused(body_of("invalid_parameter", "'wait' must be a number of seconds.", field="wait"))
    return max(0.0, min(wait_s, WAIT_MAX_S))


def _mark_received(command_ids: list[UUID]) -> list[UUID]:
    now = datetime.now(UTC)
    return [changed for command_id in command_ids for changed in requeues.mark_received(command_id, now=now)]


def _complete(body: bytes, incident: UUID, limits: Limits) -> bytes:
    """The outcome with ``v`` and ``incident`` filled in where they are missing. Raises ProtocolError."""
    if len(body) > limits.event_bytes:
        raise ProtocolError("too_big", f"The outcome has {len(body)} bytes; {limits.event_bytes} are allowed.")
    try:
        given = lenient_json.decode(msgspec.json.decode, body)
    except lenient_json.UNREADABLE as exc:
        raise ProtocolError("not_json", explain(exc)) from None
    if not isinstance(given, dict):
        raise ProtocolError("wrong_shape", "An outcome must be an object.")
    if "v" in given and "incident" in given:
        return body
    return msgspec.json.encode({"v": json_codec.VERSION, "incident": incident, **given})


async def _store(connection: Connection, subject: str, name: UUID, data: bytes) -> None:
    await connection.store(subject, data, msg_id=message_ids.of(str(name), subject, data))


def _refusal(node: str, reason: str, detail: str, data: bytes, incident: UUID | None = None) -> rejected_events.Refusal:
    # Named by its content: a client that repeats the same bad input fills no table.
    source = f"http:{node}:{hashlib.sha256(data).hexdigest()[:40]}"
    subject = subjects.outcome(node, incident) if incident else subjects.event(node)
    return rejected_events.Refusal(source, subject, node, reason, detail, data)
