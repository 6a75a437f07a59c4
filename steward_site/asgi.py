"""HTTP, websockets and the kernel's channel, each to its application: wiring only."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "steward_site.settings")

from django.core.asgi import get_asgi_application

http = get_asgi_application()  # must come first: it loads the apps that the imports below need

from channels.auth import AuthMiddlewareStack
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter

from errorkernel.kernel.consumer import KernelConsumer
from errorkernel.live import KERNEL_CHANNEL
from errorkernel.web.front import NodesFirst
from errorkernel.web.kept_threads import KeptThreads
from errorkernel.web.origin import SameOrigin
from errorkernel.web.sockets import websocket_urls

application = ProtocolTypeRouter(
    {
        "http": NodesFirst(KeptThreads(http)),  # type: ignore[arg-type]  # django-stubs wants Mapping where ASGI has dict
        "websocket": SameOrigin(AuthMiddlewareStack(URLRouter(websocket_urls))),
        "channel": ChannelNameRouter({KERNEL_CHANNEL: KernelConsumer.as_asgi()}),
    }
)
