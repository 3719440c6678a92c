"""Cognito revokes a refresh token at the user pool's domain too.

Source: Cognito developer guide, "The token revocation endpoint": ``POST /oauth2/revoke`` with
``token`` and ``client_id`` answers 200 without a body; without a token, 400. MiniStack has the API
call ``RevokeToken`` alone.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import parse_qs

PATH: Final = "/oauth2/revoke"


def revoke_at_the_domain() -> None:
    """Serve the endpoint."""
    from ministack import app
    from ministack.services import cognito

    original, revoke = app._handle_cognito_body_request, cognito._revoke_token

    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Any:
        if path != PATH or method != "POST":
            return await original(method, path, headers, body, query)
        form = parse_qs(body.decode("utf-8", "replace"))
        if not form.get("token"):
            refusal = json.dumps({"error": "invalid_request"}).encode()
            return 400, {"Content-Type": "application/json"}, refusal
        revoke({"Token": form["token"][0], "ClientId": form.get("client_id", [""])[0]})
        return 200, {"Content-Type": "application/json"}, b""

    app._handle_cognito_body_request = handle
