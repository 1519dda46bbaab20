"""A wire between an S3 client and its server that can be cut in the middle of a PUT."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

Cut = Callable[[str], bool]
"""Whether a PUT of this path is to be cut."""


class _Exchange(socketserver.StreamRequestHandler):
    """One request and its answer on a connection of their own."""

    def handle(self) -> None:
        wire = self.server
        assert isinstance(wire, Wire)
        head = [line for line in iter(self.rfile.readline, b"\r\n") if line]
        if not head:
            return
        verb, path, _ = head[0].decode().split(" ", 2)
        fields = {line.split(b":", 1)[0].lower(): line.split(b":", 1)[1].strip() for line in head[1:]}
        if b"expect" in fields:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(int(fields.get(b"content-length", b"0")))
        passed = [line for line in head if not line.lower().startswith((b"expect:", b"connection:"))]
        with socket.create_connection(("127.0.0.1", wire.server_port)) as server:
            server.sendall(b"".join([*passed, b"Connection: close\r\n\r\n"]))
            if verb == "PUT" and wire.cut(path):
                server.sendall(body[: len(body) // 2])
                return
            server.sendall(body)
            while data := server.recv(1 << 16):
                self.wfile.write(data)


class Wire(socketserver.ThreadingTCPServer):
    """Passes requests on to a server on this machine; `cut` says which are torn in the middle."""

    daemon_threads = True

    def __init__(self, server_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.server_port = server_port
        self.cut: Cut = lambda path: False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news here."""


@contextlib.contextmanager
def between(server_port: int) -> Iterator[Wire]:
    """A wire to the server, while the block lasts."""
    with Wire(server_port) as wire:
        thread = threading.Thread(target=wire.serve_forever, daemon=True)
        thread.start()
        try:
            yield wire
        finally:
            wire.shutdown()
