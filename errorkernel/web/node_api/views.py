"""The API of nodes as Django views: used only if Django serves alone, without ``front``.

Plain views: the gateway must not depend on a framework, so that it can run in front of Django.
"""

from collections.abc import AsyncIterator
from uuid import UUID

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError

from errorkernel.live.hub import hub
from errorkernel.live.publisher import announce_incidents_async
from errorkernel.platform import conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.web.node_api import broker_connection
from errorkernel.web.node_api.bodies import BodyError
from errorkernel.web.node_api.gateway import CLIENT, Gateway, Response

_CHUNK_BYTES = 64 * 1024

_gateway: Gateway | None = None
_threads: DatabaseThreads | None = None


def gateway() -> Gateway:
    """This process's gateway."""
    global _gateway, _threads
    if _gateway is None:
        # Separate threads: hundreds of waiting nodes share a few instead of one each.
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
    """Close the connection to the broker and the gateway's threads; the next request makes new ones."""
    global _gateway, _threads
    if _threads is not None:
        _threads.close()
    _gateway = _threads = None
    await broker_connection.close()


def post_events(request: HttpRequest) -> HttpResponse:
    """A node reports events."""
    return _django(async_to_sync(gateway().post_events)(_headers(request), _chunks(request)))


def await_decision(request: HttpRequest, incident_id: str) -> HttpResponse:
    """A node waits for the decision on its incident."""
    wait = request.GET.getlist("wait")
    return _django(async_to_sync(gateway().get_decision)(_headers(request), incident_id, wait))


def get_commands(request: HttpRequest) -> HttpResponse:
    """A node fetches its commands."""
    return _django(async_to_sync(gateway().get_commands)(_headers(request)))


def post_outcome(request: HttpRequest, incident_id: str) -> HttpResponse:
    """A node reports the outcome of a decision or of a command."""
    return _django(async_to_sync(gateway().post_outcome)(_headers(request), incident_id, _chunks(request)))


def _headers(request: HttpRequest) -> dict[str, str]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return {**headers, CLIENT: request.META.get("REMOTE_ADDR", "")}


async def _chunks(request: HttpRequest) -> AsyncIterator[bytes]:
    """The body from Django, which has read it into memory or a temporary file."""
    try:
        while chunk := request.read(_CHUNK_BYTES):
            yield chunk
    except UnreadablePostError:
        raise BodyError(400, "aborted", "The body ended too early.") from None


def _django(response: Response) -> HttpResponse:
    return HttpResponse(
        response.body, status=response.status, headers={"Cache-Control": "no-store", **response.headers}
    )
