"""Who is calling: keys, signatures on the raw bytes, the time rule, addresses, expiry, permissions."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sim.engine.account import AccountSpec
from sim.routes.params import Params, text
from sim.wiretypes import RefusalError, WireRequest

AHEAD_MS = 1000
DEFAULT_WINDOW = "5000"


class Keyring:
    """API keys and what they open."""

    def __init__(self, specs: Iterable[AccountSpec]) -> None:
        self._keys = {spec.key: spec for spec in specs}
        self._public = {spec.key: rsa_key(spec.rsa_public_key) for spec in specs if spec.rsa_public_key}

    def spec_of(self, request: WireRequest, now_ms: int) -> AccountSpec:
        """The key that made the request. Raises RefusalError: 401, 10001, 10002, 10003, 10004, 10010 or 33004."""
        if request.session_key:
            return self._usable(self._keys[request.session_key], request.address, now_ms)
        headers = request.headers
        key, sign = headers.get("x-bapi-api-key", ""), headers.get("x-bapi-sign", "")
        stamp = headers.get("x-bapi-timestamp", "")
        window = headers.get("x-bapi-recv-window", "")
        if not key or not sign or not stamp:
            raise RefusalError(10003, "API key, sign and timestamp headers are required", status=401)
        spec = self._keys.get(key)
        if spec is None:
            raise RefusalError(10003, "API key is invalid.")
        check_time(stamp, window, now_ms, aged=bool(request.request_id))
        content = request.query if request.method == "GET" else request.body
        origin = f"{stamp}{key}{window}{content}"
        if not self._signed(spec, origin, sign):
            raise RefusalError(10004, f"error sign! origin_string[{origin}]")
        return self._usable(spec, request.address, now_ms)

    def name_of(self, request: WireRequest) -> str:
        """The account that a request says it is for; nothing is checked."""
        spec = self._keys.get(request.session_key or request.headers.get("x-bapi-api-key", ""))
        return request.account or (spec.name if spec else "")

    def session_spec(self, key: str, expires: str, sign: str, address: str, now_ms: int) -> AccountSpec:
        """The key of a WebSocket `auth`. Raises RefusalError with a code of the trade socket."""
        if not key or not expires.isdigit() or not sign:
            raise RefusalError(10001, "Params Error")
        if int(expires) < now_ms:
            raise RefusalError(10001, "Params Error: expires has passed")
        spec = self._keys.get(key)
        if spec is None:
            raise RefusalError(10003, "API key is invalid.")
        if not self._signed(spec, f"GET/realtime{expires}", sign):
            raise RefusalError(10004, "Params Error: sign is invalid")
        return self._usable(spec, address, now_ms)

    def _signed(self, spec: AccountSpec, origin: str, sign: str) -> bool:
        public = self._public.get(spec.key)
        if public is None:
            expected = hmac.new(spec.secret.encode(), origin.encode(), hashlib.sha256).hexdigest()
            return hmac.compare_digest(expected.encode(), sign.encode())
        try:
            public.verify(base64.b64decode(sign, validate=True), origin.encode(), PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    @staticmethod
    def _usable(spec: AccountSpec, address: str, now_ms: int) -> AccountSpec:
        if address and spec.ips and "*" not in spec.ips and address not in spec.ips:
            raise RefusalError(10010, "Unmatched IP, please check your API key's bound IP addresses.")
        if spec.expires_ms is not None and now_ms >= spec.expires_ms:
            raise RefusalError(33004, "Your api key has expired.")
        return spec


def rsa_key(pem: str) -> RSAPublicKey:
    """The public key of a PEM text; raises ValueError when it is none."""
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, RSAPublicKey):
        raise ValueError("not an RSA public key")  # noqa: TRY004 (a wrong text, not a wrong type)
    return key


def permit(spec: AccountSpec, request: WireRequest, params: Params) -> None:
    """Whoever may not write, or not this, is refused with 10005; every key may look at its own account."""
    if request.method != "POST":
        return
    if spec.read_only or _needed(request.path, params) not in spec.permissions:
        raise RefusalError(10005, "Permission denied, please check your API key permissions.")


def _needed(path: str, params: Params) -> str:
    if text(params, "category") == "spot":
        return "SpotTrade"
    return "Position" if path.startswith("/v5/position/") else "Order"


def check_time(stamp: str, window: str, now_ms: int, aged: bool = False) -> None:
    """server - recv_window <= timestamp < server + 1000, else 10002.

    `aged`: a request of a tape run may be old. A client that was killed and restarted knows tape time only as of its last
    batch; its request id, not the stamp, keeps it from being executed twice.
    """
    if not stamp.isdigit() or (window and not window.isdigit()):
        raise RefusalError(10001, "params error: timestamp and recv_window must be integers")
    allowed = int(window or DEFAULT_WINDOW)
    oldest = 0 if aged else now_ms - allowed
    if not oldest <= int(stamp) < now_ms + AHEAD_MS:
        raise RefusalError(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{stamp}],server_timestamp[{now_ms}],recv_window[{allowed}]",
        )
