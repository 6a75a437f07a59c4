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
from errorkernel.platform import conf
from errorkernel.web.asgi.origin import SameOrigin
from errorkernel.web.asgi.proxies import BehindProxies
from errorkernel.web.health.front import ProbesFirst
from errorkernel.web.node_api.front import NodesFirst

_routes = ProtocolTypeRouter(
    {
        "http": ProbesFirst(NodesFirst(KeptThreads(Django()))),
        "websocket": SameOrigin(AuthMiddlewareStack(URLRouter(websocket_urls))),
        "channel": ChannelNameRouter({KERNEL_CHANNEL: KernelConsumer.as_asgi()}),
    }
)
application = BehindProxies(_routes, trusted=conf.get().trusted_networks, prefix=conf.get().base_path)
