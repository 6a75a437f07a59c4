"""Onboarding of an empty installation: a button makes a node's credentials, which are shown once."""

import json

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from errorkernel.broker.access import own_access
from errorkernel.platform import conf
from errorkernel.store import nodes
from errorkernel.templatetags.messages import translated
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import ADD_NODES, needs
from errorkernel.web.console.context import Frame
from errorkernel.web.console.triage import triage_context


@never_cache
@require_http_methods(["GET", "POST"])
@needs(ADD_NODES, fields=("name",))
def first_node(request: HttpRequest) -> HttpResponse:
    """The triage page with the new node's credentials; 400 for an invalid name.

    The response to the form shows them, because a redirect would need to store them.
    """
    if request.method == "GET":
        return HttpResponseRedirect(reverse("triage"))
    name = request.POST.get("name", "").strip()
    page = triage_context(request)
    try:
        made = nodes.add_node(name, actor_of(request))
    except nodes.FleetError as exc:
        context = {**page, "never": True, "name": name, "error_text": translated(exc)}
        return render(request, "errorkernel/triage.html", context, status=400)
    given = {
        "node": made.node,
        "nkey_seed": made.nkey_seed,
        "token": made.token,
        "nats_url": conf.without_login(own_access(conf.get()).url),
        "http_url": Frame(request).base_url,
    }
    context = {**page, "never": True, "new_node": made, "credentials": json.dumps(given)}
    return render(request, "errorkernel/triage.html", context)
