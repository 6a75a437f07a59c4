"""HTTP, websockets and the kernel's channel, each to its application: wiring only."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "steward_site.settings")

import django

django.setup(set_prefix=False)  # must come first: it loads the apps that the imports below need

from channels.auth import AuthMiddlewareStack
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter

from errorkernel.bypasses.request_threads import Django, KeptThreads
from errorkernel.kernel.consumer import KernelConsumer
from errorkernel.live.publisher import KERNEL_CHANNEL
from errorkernel.live.websocket import websocket_urls
from errorkernel.web.asgi.origin import SameOrigin
from errorkernel.web.health.front import ProbesFirst
from errorkernel.web.node_api.front import NodesFirst

application = ProtocolTypeRouter(
    {
        "http": ProbesFirst(NodesFirst(KeptThreads(Django()))),
        "websocket": SameOrigin(AuthMiddlewareStack(URLRouter(websocket_urls))),
        "channel": ChannelNameRouter({KERNEL_CHANNEL: KernelConsumer.as_asgi()}),
    }
)
