"""A proxy in front of a product, as small as one can be: it passes bytes on, and can strip a prefix."""

import re
import socket
import threading
from contextlib import suppress


class PrefixProxy:
    """Listens on a free port of this machine until ``close``; ``strip``: the prefix to remove, empty for none."""

    def __init__(self, target_url: str, *, strip: str = "") -> None:
        host, _, port = target_url.removeprefix("http://").partition("/")[0].partition(":")
        self._target = host, int(port)
        self._request = re.compile(rb"\A([A-Z]+) " + re.escape(strip.encode()) + rb"(?=[/? ])/?") if strip else None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for here, there, is_request in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._copy, args=(here, there, is_request), daemon=True).start()

    def _copy(self, here: socket.socket, there: socket.socket, is_request: bool) -> None:
        with suppress(OSError):
            while data := here.recv(65536):
                if is_request and self._request:
                    data = self._request.sub(rb"\1 /", data)
                there.sendall(data)
        for end in (here, there):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
