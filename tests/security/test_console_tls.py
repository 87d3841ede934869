"""S9, S11 over TLS: the console's port with a certificate of its own, and what happens with one that will not do."""

import os
import signal
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from daemon_under_test import DaemonUnderTest, daemon_in, wait_until

from modelgrid.client.http import local_client

CHOSEN = "a sentence of my own"


def make_certificate(folder: Path, *, days: int = 30) -> dict[str, str]:
    """Write a self-signed certificate for localhost and its key; return the section of the configuration."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    folder.mkdir(exist_ok=True)
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {"certFile": str(folder / "cert.pem"), "keyFile": str(folder / "key.pem")}


@pytest.fixture
def new_daemon(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], DaemonUnderTest]]:
    folder = tmp_path / "daemon"
    folder.mkdir()

    def make(tls: dict[str, str]) -> DaemonUnderTest:
        config: dict[str, Any] = {"api": {"tls": tls}}
        return stack.enter_context(daemon_in(folder, config))

    with ExitStack() as stack:
        yield make


def test_over_tls_the_cookie_is_bound_to_the_host(
    tmp_path: Path, new_daemon: Callable[[dict[str, str]], DaemonUnderTest]
) -> None:
    tls = make_certificate(tmp_path / "tls")
    daemon = new_daemon(tls)
    daemon.start(wait=False)
    wait_until("it says where it is", (daemon.state_dir / "run" / "endpoint.json").exists, 60, daemon.words)
    with local_client(daemon.state_dir) as local:
        local.set_password("admin", {"password": CHOSEN})
    base = f"https://localhost:{daemon.ui_port}"
    trusted = ssl.create_default_context(cafile=tls["certFile"])
    with httpx.Client(base_url=f"{base}/v1/_ui", verify=trusted, headers={"Origin": base}, trust_env=False) as page:
        answer = page.post("/login", json={"user": "admin", "password": CHOSEN})
        assert answer.status_code == 200, answer.text
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        cookie = SimpleCookie(answer.headers["set-cookie"])
        (name,) = cookie
        assert name == f"__Host-modelgrid-{daemon.ui_port}"
        assert cookie[name]["secure"] is True
        assert cookie[name]["httponly"] is True
        assert (cookie[name]["samesite"], cookie[name]["path"], cookie[name]["domain"]) == ("strict", "/", "")
        assert page.get("/session").status_code == 200
        tossed = {"Cookie": f"modelgrid-{daemon.ui_port}={cookie[name].value}"}
        bare = httpx.get(f"{base}/v1/_ui/session", headers=tossed, verify=trusted, trust_env=False)
        assert bare.status_code == 401, "a name that another host could have set does not count"
        assert "strict-transport-security" in bare.headers
        gateway = f"https://localhost:{daemon.port}"
        assert page.get("/overview").json()["api_url"] == f"https://127.0.0.1:{daemon.port}/v1"
        assert httpx.get(f"{gateway}/health", verify=trusted, trust_env=False).status_code == 200


def test_a_reload_takes_a_renewed_certificate_and_refuses_one_that_will_not_do(
    tmp_path: Path, new_daemon: Callable[[dict[str, str]], DaemonUnderTest]
) -> None:
    tls = make_certificate(tmp_path / "tls")
    daemon = new_daemon(tls)
    daemon.start(wait=False)
    ports = (daemon.port, daemon.ui_port)

    def shown() -> set[str]:
        return {ssl.get_server_certificate(("127.0.0.1", port), timeout=10) for port in ports}

    def serve(text: str) -> bool:
        try:
            return shown() == {text}
        except OSError:  # not yet, or not at this moment
            return False

    first = Path(tls["certFile"]).read_text()
    wait_until("both ports have the certificate", lambda: serve(first), 60, daemon.words)
    Path(tls["certFile"]).write_text("half of a fi")
    os.kill(daemon.supervisor_pid, signal.SIGHUP)
    wait_until("it is refused", lambda: "nothing was restarted" in daemon.log.read_text(), 60, daemon.words)
    assert shown() == {first}
    make_certificate(tmp_path / "tls")
    os.kill(daemon.supervisor_pid, signal.SIGHUP)
    wait_until("both ports have the new one", lambda: serve(Path(tls["certFile"]).read_text()), 60, daemon.words)


@pytest.mark.parametrize("fault", ["expired", "mismatched", "missing", "no-pem"])
def test_a_certificate_that_will_not_do_is_told_at_the_start(
    tmp_path: Path, new_daemon: Callable[[dict[str, str]], DaemonUnderTest], fault: str
) -> None:
    tls = make_certificate(tmp_path / "tls", days=-1 if fault == "expired" else 30)
    if fault == "mismatched":
        tls["keyFile"] = make_certificate(tmp_path / "other")["keyFile"]
    elif fault == "missing":
        tls["certFile"] = str(tmp_path / "nowhere.pem")
    elif fault == "no-pem":
        Path(tls["certFile"]).write_text("this is no certificate\n")
    daemon = new_daemon(tls)
    daemon.start(wait=False)
    assert daemon.wait_exit() == 2, daemon.words()
    said = daemon.log.read_text()
    assert "api.tls" in said
    assert "Traceback" not in said
