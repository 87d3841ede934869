"""The certificate of a node: made once, whole or not at all, and good for TLS between those who know it."""

import multiprocessing
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from modelgrid.adapters.node_certificate import NodeCertificate, ensure_certificate
from modelgrid.domain.errors import InvalidConfig


def pinned(pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=pem)
    return context


def greet(shown: NodeCertificate, known: str) -> str:
    """Connect to a server that shows one certificate as somebody who knows another; return what was said."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown.certificate, shown.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            try:
                with server.wrap_socket(connection, server_side=True) as tls:
                    tls.sendall(b"hello")
            except OSError:  # the other side hung up, as it should with a stranger
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with (
                socket.create_connection(listening.getsockname()) as plain,
                pinned(known).wrap_socket(plain, server_hostname="127.0.0.1") as tls,
            ):
                return tls.recv(5).decode()
        finally:
            thread.join()


def test_it_is_made_once_and_only_its_user_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    made = ensure_certificate(folder, "node-a")
    text, key = made.pem, made.key.read_text()
    assert ensure_certificate(folder, "another name") == made
    assert (made.pem, made.key.read_text()) == (text, key)
    assert [path.stat().st_mode & 0o777 for path in (folder, made.certificate, made.key)] == [0o700, 0o600, 0o600]
    assert sorted(path.name for path in folder.iterdir()) == ["node.key", "node.pem"]
    certificate = load_pem_x509_certificate(text.encode())
    now = datetime.now(UTC)
    assert certificate.not_valid_before_utc < now - timedelta(days=1)  # clocks that are behind
    assert certificate.not_valid_after_utc > now + timedelta(days=3640)
    assert certificate.subject.rfc4514_string() == "CN=node-a"


def test_who_knows_it_trusts_it_and_nothing_else(tmp_path: Path) -> None:
    one, other = (ensure_certificate(tmp_path / name, "node-a") for name in ("one", "other"))
    assert greet(one, one.pem) == "hello"
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(other, one.pem)


def test_a_key_without_its_certificate_was_left_by_a_crash(tmp_path: Path) -> None:
    made = ensure_certificate(tmp_path, "a")
    before = made.key.read_text()
    made.certificate.unlink()
    again = ensure_certificate(tmp_path, "a")
    assert again.key.read_text() != before
    assert greet(again, again.pem) == "hello"


def test_a_certificate_without_its_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    made = ensure_certificate(tmp_path, "a")
    made.key.unlink()
    with pytest.raises(InvalidConfig, match=r"node\.key") as caught:
        ensure_certificate(tmp_path, "a")
    assert "join again" in caught.value.fix
    assert made.certificate.exists()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster").write_text("not a folder")
    with pytest.raises(InvalidConfig, match="cluster"):
        ensure_certificate(tmp_path / "cluster", "a")


def test_a_key_that_others_could_read_is_closed(tmp_path: Path) -> None:
    made = ensure_certificate(tmp_path, "a")
    made.key.chmod(0o644)
    ensure_certificate(tmp_path, "a")
    assert made.key.stat().st_mode & 0o777 == 0o600


def _ensure(folder: Path) -> str:
    made = ensure_certificate(folder, "a")
    return made.pem + made.key.read_text()


def test_processes_that_make_it_at_once_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        texts = pool.map(_ensure, [tmp_path] * 8)
    assert len(set(texts)) == 1
    made = ensure_certificate(tmp_path, "a")
    assert greet(made, made.pem) == "hello"
