"""Fresh keys of a deployment: who gets which, never half a set, never twice."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cli.keys import cluster, make_keys, write_files, write_secrets
from libs.bybit.keyring import read_key
from libs.common import seal
from libs.common.errors import TidegateError, UsageError
from libs.common.settings import load
from services.execution.config import ExecutionConfig
from services.risk.app import read_seal_key
from services.risk.config import RiskConfig
from sim.door.accounts import read_accounts


def test_the_services_read_what_was_written_and_the_halves_fit(tmp_path: Path):
    assert write_files(tmp_path) is True
    private = read_seal_key(tmp_path / "risk/seal.key")
    settings = load({"execution": ExecutionConfig}, env={"TIDEGATE_SECRETS_DIR": str(tmp_path / "execution/settings")})
    assert settings.section("execution", ExecutionConfig).seal_keys == {"run": seal.public_of(private)}
    risk = load({"risk": RiskConfig}, env={"TIDEGATE_SECRETS_DIR": str(tmp_path / "risk/settings")})
    operator = (tmp_path / "operator/operator.key").read_text().strip()
    assert risk.section("risk", RiskConfig).operator_keys == {"operator": seal.public_of(operator)}
    venue, (account, second) = (
        read_key(tmp_path / "execution/venue.json"),
        read_accounts(tmp_path / "sim/accounts.json"),
    )
    watchdog = read_key(tmp_path / "watchdog/watchdog.json")
    assert (watchdog.key, watchdog.secret, second.name) == (second.key, second.secret, account.name)
    assert (venue.key, venue.secret) == (account.key, account.secret)


def test_a_private_key_lies_with_its_one_reader():
    keys = make_keys()
    for secret, reader in ((keys["risk"]["seal.key"], "risk"), (keys["operator"]["operator.key"], "operator")):
        holders = {name for name, files in keys.items() if secret.strip() in " ".join(files.values())}
        assert holders == {reader}


def test_a_login_lies_with_who_acts_as_it_and_the_list_holds_hashes():
    keys = make_keys()
    logins = {reader: {path[4:] for path in files if path.startswith("bus/")} for reader, files in keys.items()}
    assert {reader: roles for reader, roles in logins.items() if roles} == {
        "marketdata": {"marketdata"},
        "signal": {"signal"},
        "risk": {"risk"},
        "execution": {"execution"},
        "monitor": {"monitor", "tools", "operators"},
        "watchdog": {"watchdog"},
        "operator": {"tools", "operators", "trainer", "admin"},
    }
    for files in keys.values():
        for path, text in files.items():
            assert not path.startswith("bus/") or text.strip() not in keys["redis"]["users.acl"]


def test_files_are_for_their_owner_and_stay_when_asked_again(tmp_path: Path):
    write_files(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == sum(len(files) for files in make_keys().values())
    modes = {path.name: path.stat().st_mode & 0o777 for path in before}
    assert modes.pop("users.acl") == 0o644, "the bus is another user; it holds hashes alone"
    assert set(modes.values()) == {0o600}
    assert write_files(tmp_path) is False
    assert {path: path.read_bytes() for path in before} == before


def test_half_a_set_is_refused(tmp_path: Path):
    write_files(tmp_path)
    (tmp_path / "execution/venue.json").unlink()
    with pytest.raises(UsageError, match="all keys"):
        write_files(tmp_path)


class Cluster:
    """The API's answers for Secrets, as Kubernetes gives them."""

    def __init__(self, *present: str) -> None:
        self.secrets: dict[str, dict[str, bytes]] = {name: {} for name in present}

    def ask(self, method: str, path: str, body: bytes | None) -> int:
        assert path.startswith("/api/v1/namespaces/tidegate/secrets")
        if method == "DELETE":
            return 200 if self.secrets.pop(path.rpartition("/")[2], None) is not None else 404
        assert (method, body is not None) == ("POST", True)
        secret = json.loads(body or b"")
        name = secret["metadata"]["name"]
        if name in self.secrets:
            return 409
        self.secrets[name] = {key: base64.b64decode(value) for key, value in secret["data"].items()}
        return 201


def test_secrets_are_made_once():
    cluster = Cluster()
    assert write_secrets(cluster.ask, "tidegate") is True
    assert set(cluster.secrets) == {f"tidegate-{reader}" for reader in make_keys()}
    files = {"venue.json", "settings.execution.seal_keys", "bus.execution"}
    assert set(cluster.secrets["tidegate-execution"]) == files
    before = dict(cluster.secrets)
    assert write_secrets(cluster.ask, "tidegate") is False
    assert cluster.secrets == before


def test_halves_of_two_sets_never_stay():
    cluster = Cluster("tidegate-risk")
    with pytest.raises(TidegateError, match="try again"):
        write_secrets(cluster.ask, "tidegate")
    assert cluster.secrets == {}
    assert write_secrets(cluster.ask, "tidegate") is True


def test_a_cluster_that_says_no_is_told():
    with pytest.raises(TidegateError, match="403"):
        write_secrets(lambda method, path, body: 403, "tidegate")


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[tuple[str, str, str]]]]:
    """A pod's service account folder, and what a TLS server at the cluster's address was asked."""
    account, seen = tmp_path / "account", []
    account.mkdir()
    write_certificate(account / "ca.crt", tmp_path / "tls.key")
    (account / "token").write_text("a-token\n")
    (account / "namespace").write_text("tidegate")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.path, self.headers["Authorization"], json.loads(body)["metadata"]["name"]))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(account / "ca.crt", tmp_path / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))
    yield account, seen
    server.shutdown()
    thread.join()
    server.server_close()


def write_certificate(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test's cluster")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, *plain))


def test_the_job_asks_the_clusters_api_as_its_service_account(api: tuple[Path, list[tuple[str, str, str]]]):
    account, seen = api
    ask, namespace = cluster(account)
    assert write_secrets(ask, namespace) is True
    assert {path for path, _, _ in seen} == {"/api/v1/namespaces/tidegate/secrets"}
    assert {token for _, token, _ in seen} == {"Bearer a-token"}
    assert {name for _, _, name in seen} == {f"tidegate-{reader}" for reader in make_keys()}


def test_outside_a_pod_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UsageError, match="in a pod"):
        cluster(tmp_path)
