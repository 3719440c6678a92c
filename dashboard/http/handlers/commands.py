"""The handlers of commands to devices: the newest of a device, and sending one."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import ClientError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dashboard import answers
from dashboard.errors import BadRequestError
from dashboard.http import requests
from dashboard.http.alerts import NAME, UNNAMED, check_same_origin, read_body
from dashboard.http.responses import json_response, tagged_response
from dashboard.tenants.view import View
from ingest.commands.command import LEAST_EXPIRES_S, MOST_EXPIRES_S, is_id, new_id
from ingest.commands.document import CommandDiffersError, CommandsFullError
from ingest.commands.store import CommandBusyError

EXPIRES_S: Final = 60.0


class CommandsApi:
    """The handlers."""

    async def of_device(self, request: Request, view: View) -> Response:
        """The newest commands to a device."""
        name = requests.device(request)
        page: answers.Commands = {
            "device": name, "commands": await view.commands_of(name), "user": view.principal.name,
            "may_send": view.may_send_commands,
        }  # fmt: skip
        return tagged_response(request, page)

    async def send(self, request: Request, view: View) -> Response:
        """Send one."""
        check_same_origin(request)
        name = requests.device(request)
        wanted = await read_body(request, answers.CommandToSend)
        by = wanted.get("by", "").strip() or UNNAMED
        expires_s = wanted.get("expires_s", EXPIRES_S)
        id_ = wanted.get("id") or new_id()
        if not NAME.fullmatch(by):
            raise BadRequestError("by: a name of up to 128 characters")
        if not LEAST_EXPIRES_S <= expires_s <= MOST_EXPIRES_S:
            raise BadRequestError(f"expires_s: {LEAST_EXPIRES_S} to {MOST_EXPIRES_S} seconds")
        if not is_id(id_):
            raise BadRequestError("id: 8 to 36 letters, digits and hyphens")
        try:
            sent = await view.send_command(
                name, id_, wanted["name"], wanted.get("args", {}), expires_s, by
            )
        except (CommandsFullError, CommandDiffersError) as error:
            raise HTTPException(409, str(error)) from None
        except CommandBusyError as error:
            raise HTTPException(503, str(error)) from None
        except ValueError as error:
            raise BadRequestError(str(error)) from None
        except ClientError as error:
            if error.response["Error"]["Code"] in ("AccessDeniedException", "ForbiddenException"):
                raise HTTPException(403, "the dashboard's role may not send commands") from None
            raise
        return json_response(sent)
