"""Operations on dead letters."""

from typing import Any

from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse

from errorkernel.live.publisher import announce_incidents
from errorkernel.models import DeadLetter, Requeue
from errorkernel.store.incidents import requeues
from errorkernel.store.incidents.requeues import Wish
from errorkernel.store.platform.actor import Actor
from errorkernel.web.console.rules import LETTER_PARAMETERS
from errorkernel.web.operations.incidents import DISPOSED, dispose_operation, wanted
from errorkernel.web.operations.operation import Done, Form, Operation, Resource
from errorkernel.web.schemas.messages import MessageOperation, MessageRequest, message_operation

_LETTER = Resource(
    address="dead-letters",
    noun="dead letter",
    item=MessageOperation,
    encode=message_operation,
    missing=DeadLetter.DoesNotExist,
    page="dead-letters",
    has_item_page=False,
)


def _back(done: Done) -> HttpResponse:
    """The filtered list, at this letter."""
    filters = done.request.GET.urlencode()
    return HttpResponseRedirect(f"{reverse('dead-letters')}?{filters}#letter-{done.key}")


def _operation(wish: Wish, name: str, summary: str) -> Operation[Any]:
    def handle(key: int, given: MessageRequest, actor: Actor) -> Requeue:
        row = requeues.dispose_of_letter(key, wanted(wish, given), actor)
        if row.incident_id:
            announce_incidents([row.incident_id])
        return row

    form = Form(message=DISPOSED[wish], after=_back, parameters=LETTER_PARAMETERS)
    return dispose_operation(wish, name, summary, _LETTER, handler=handle, form=form)


OPERATIONS: tuple[Operation[Any], ...] = (
    _operation(Wish.REQUEUE, "requeueDeadLetter", "Send a dead letter to its process again"),
    _operation(Wish.DROP, "dropDeadLetter", "Drop a dead letter; it stays to be read"),
)
