"""HTTP for machines: the addresses of ``/api/v1``.

Plain Django views, on purpose: the one endpoint with logic of its own (the gateway) must stay free of any framework
so that it can stand in front of Django, and what remains is a dozen small views, for which a REST framework would be
a dependency for its decorators. All are synchronous: operators' only ask the database, and would change threads twice
more otherwise; nodes' wait (for the broker, for an answer), but are asked here only where Django serves alone.

An address may serve a node with one method and an operator with another. They are therefore exempt from Django's CSRF
middleware; ``api_access`` makes the check for whoever comes with a session.
"""

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from errorkernel.domain.incident_state import State
from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.values import Action
from errorkernel.live.hub import hub
from errorkernel.live.publisher import announce_incidents, announce_incidents_async
from errorkernel.models import Decision, Incident
from errorkernel.platform import conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.incidents.decisions import AlreadyDecided, NotOpen, decide
from errorkernel.store.platform.actor import Actor
from errorkernel.web.api.authentication import ApiError, as_json, needs, not_allowed, read_body
from errorkernel.web.api.schemas.common import (
    REQUEST_ID_MAX_CHARS,
    Answer,
    Answered,
    Fault,
    NobodyAsks,
    SomebodyWasFirst,
    of_row,
)
from errorkernel.web.api.views import lists
from errorkernel.web.node_api import broker_connection
from errorkernel.web.node_api.bodies import BodyError
from errorkernel.web.node_api.gateway import CLIENT, Gateway, Response

APPEAR_WAIT_S = 2.0
"""Who was told 202 for a question may answer it before the kernel has stored it: so long is it looked for."""
APPEAR_CHECK_S = 0.05
_CHUNK_BYTES = 64 * 1024

_answer_decoder = msgspec.json.Decoder(Answer)
_gateway: Gateway | None = None
_threads: DatabaseThreads | None = None


def gateway() -> Gateway:
    """This process's gateway."""
    global _gateway, _threads
    if _gateway is None:
        # Threads of its own: hundreds of waiting nodes share these few instead of holding one each.
        threads = _threads = DatabaseThreads("gateway", 4)

        async def wait_incident(incident_id: UUID, timeout_s: float) -> None:
            await hub().wait_incident(incident_id, timeout_s)

        _gateway = Gateway(
            limits=conf.get().limits,
            connection=broker_connection.connected_uplink,
            threads=threads,
            wait_incident=wait_incident,
            announce=announce_incidents_async,
        )
    return _gateway


async def close() -> None:
    """Give up the connection to the broker and the gateway's threads; the next request makes new ones."""
    global _gateway, _threads
    if _threads is not None:
        _threads.close()
    _gateway = _threads = None
    await broker_connection.close()


@csrf_exempt
def events(request: HttpRequest) -> HttpResponse:
    """POST: a node reports. GET: an operator reads."""
    if request.method == "POST":
        return _django(async_to_sync(gateway().post_events)(_headers(request), _chunks(request)))
    if request.method in ("GET", "HEAD"):
        return lists.events(request)
    return not_allowed("GET", "HEAD", "POST")


@csrf_exempt
def decision(request: HttpRequest, incident_id: str) -> HttpResponse:
    """GET: a node waits for its answer. POST: an operator gives one."""
    if request.method == "GET":
        wait = request.GET.getlist("wait")
        return _django(async_to_sync(gateway().get_decision)(_headers(request), incident_id, wait))
    return _decide(request, incident_id) if request.method == "POST" else not_allowed("GET", "POST")


@csrf_exempt
def commands(request: HttpRequest) -> HttpResponse:
    """GET: a node asks what it has been told to do."""
    if request.method == "GET":
        return _django(async_to_sync(gateway().get_commands)(_headers(request)))
    return not_allowed("GET")


@csrf_exempt
def outcome(request: HttpRequest, incident_id: str) -> HttpResponse:
    """POST: a node says what it did."""
    if request.method == "POST":
        return _django(async_to_sync(gateway().post_outcome)(_headers(request), incident_id, _chunks(request)))
    return not_allowed("POST")


def listing(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A list as it hangs at its address: reading only, everything else is 405 in JSON."""

    @csrf_exempt
    def read(request: HttpRequest, **of: Any) -> HttpResponse:
        return view(request, **of) if request.method in ("GET", "HEAD") else not_allowed("GET", "HEAD")

    return read


@csrf_exempt
def unknown(request: HttpRequest) -> HttpResponse:
    """Below ``/api/v1`` even what is not there answers in JSON."""
    return as_json(404, Fault("There is nothing at this address."))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What Django itself refuses before a view is asked (a host name that is not ours): in JSON below ``/api/v1``."""
    if request.path.startswith("/api/v1/"):
        return as_json(400, Fault("This request cannot be read, or its host is not one of STEWARD_ALLOWED_HOSTS."))
    return defaults.bad_request(request, exception)


@needs("errorkernel.decide_incident")
def _decide(request: HttpRequest, actor: Actor, incident_id: str) -> HttpResponse:
    """200 the decision, also for the same ``request_id`` again; 409 somebody was first, or nobody asks any more."""
    answer = read_body(request, _answer_decoder, f"an action ({', '.join(Action)})")
    try:
        incident = UUID(incident_id)
    except ValueError:
        raise _unknown_incident() from None
    given = partial(
        decide,
        incident,
        answer.action,
        actor,
        reason=_clean(answer.reason, "reason", REASON_MAX_CHARS),
        request_id=_clean(answer.request_id, "request_id", REQUEST_ID_MAX_CHARS),
    )
    try:
        made = _once_stored(given)
    except Incident.DoesNotExist:
        raise _unknown_incident() from None
    except AlreadyDecided as exc:
        raise _lost(exc.decision) from None
    except NotOpen as exc:
        raise ApiError(409, NobodyAsks("Nobody waits for this answer any more.", State(exc.state))) from None
    if made.action != answer.action:
        # The same request_id was used for two different answers: the first one counts.
        raise _lost(made)
    announce_incidents([made.incident_id])
    return as_json(200, of_row(Answered, made, incident=made.incident_id, decision_id=made.pk))


def _once_stored(given: Callable[[], Decision]) -> Decision:
    """A question that a node has just been told is accepted may not be stored yet."""
    until = time.monotonic() + APPEAR_WAIT_S
    while True:
        try:
            return given()
        except Incident.DoesNotExist:
            if time.monotonic() >= until:
                raise
        time.sleep(APPEAR_CHECK_S)


def _clean(given: str | int | None, name: str, chars: int) -> str:
    """Without NUL, which PostgreSQL cannot hold, and without blanks around it. Raises ApiError for what is too long."""
    text = "" if given is None else str(given).replace("\0", "").strip()
    if len(text) > chars:
        raise ApiError(400, f"{name} has {len(text)} characters; {chars} are allowed.")
    return text


def _unknown_incident() -> ApiError:
    return ApiError(404, "There is no such incident.")


def _lost(decision: Decision) -> ApiError:
    error = f"{decision.actor} answered {decision.action} first."
    return ApiError(409, of_row(SomebodyWasFirst, decision, error=error, winner=decision.actor))


def _headers(request: HttpRequest) -> dict[str, str]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return {**headers, CLIENT: request.META.get("REMOTE_ADDR", "")}


async def _chunks(request: HttpRequest) -> AsyncIterator[bytes]:
    """The body as Django has it: read from the connection already, in memory or in a temporary file."""
    try:
        while chunk := request.read(_CHUNK_BYTES):
            yield chunk
    except UnreadablePostError:
        raise BodyError(400, "aborted", "The body ended too early.") from None


def _django(response: Response) -> HttpResponse:
    return HttpResponse(
        response.body, status=response.status, headers={"Cache-Control": "no-store", **response.headers}
    )
