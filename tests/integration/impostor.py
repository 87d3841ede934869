"""Somebody else at a control plane's address: TLS with a certificate of its own. It keeps what it is sent."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from modelgrid.adapters.control_plane_http.pinning import fingerprint_of
from modelgrid.adapters.node_certificate import ensure_certificate

QUIET_SECONDS = 2.0
"""Who has said something and nothing more for so long waits for the answer."""


class Impostor:
    """`sent` is what arrived inside TLS, over all connections; `handshakes` counts those that came to pass."""

    def __init__(self, folder: Path) -> None:
        made = ensure_certificate(folder, "control-a")
        self.fingerprint = fingerprint_of(made.pem)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(made.certificate, made.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = b""
        self.handshakes = 0

    def answer(self) -> None:
        """Take one connection after the other until `close`; answer none."""
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with plain, contextlib.suppress(OSError):  # who goes away without a word is welcome to
                plain.settimeout(10)
                with self._context.wrap_socket(plain, server_side=True) as secured:
                    self.handshakes += 1
                    while said := secured.recv(65_536):
                        self.sent += said
                        secured.settimeout(QUIET_SECONDS)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def impostor_in(folder: Path) -> Iterator[Impostor]:
    """Yield an impostor that answers."""
    impostor = Impostor(folder)
    thread = threading.Thread(target=impostor.answer)
    thread.start()
    try:
        yield impostor
    finally:
        impostor.close()
        thread.join(20)
