"""An OpenID Connect issuer on loopback, with a key of its own, and tokens of every kind."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

AUDIENCE: Final = "dashboard-client"
KID: Final = "key-1"


class FakeIssuer:
    """``url`` is what it is called; ``reads`` counts how often its keys were read."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.reads = 0
        self.named = url

    @property
    def public_jwk(self) -> dict[str, Any]:
        jwk = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
        return {**jwk, "kid": KID, "use": "sig", "alg": "RS256"}

    def claims(self, now_s: float, **other: Any) -> dict[str, Any]:
        """Good claims, with others in their place; ``None`` leaves one out."""
        good = {
            "iss": self.url, "aud": AUDIENCE, "sub": "1234", "exp": now_s + 600,
            "email": "kim@hall.example", "custom:groups": "red", "cognito:groups": ["operator"],
        }  # fmt: skip
        return {name: one for name, one in {**good, **other}.items() if one is not None}

    def token(
        self, claims: dict[str, Any], *, key: Any = None, algorithm: str = "RS256", **header: Any
    ) -> str:
        """A token, signed by the issuer's key unless another is given."""
        return jwt.encode(claims, key or self.key, algorithm, {"kid": KID, **header})

    def answer(self, path: str) -> dict[str, Any] | None:
        if path.endswith("/.well-known/openid-configuration"):
            return {"issuer": self.named, "jwks_uri": f"{self.url}/keys"}
        if path.endswith("/keys"):
            self.reads += 1
            return {"keys": [self.public_jwk]}
        return None


@contextmanager
def an_issuer() -> Iterator[FakeIssuer]:
    """An issuer that answers on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = issuer.answer(self.path)
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = FakeIssuer(f"http://127.0.0.1:{server.server_address[1]}/pool")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
