"""From a route to its handler: who asks gets a view, and the role that the route needs is held.

Every route of the API is made here. A handler gets the request and the caller's
:class:`~dashboard.tenants.view.View`; it has no other way to the tables.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.http.access import principal_of_request
from dashboard.principal import Role
from dashboard.tenants.view import View, Views

Handler = Callable[[Request, View], Awaitable[Response]]


class Endpoint:
    """A handler behind the role that it needs.

    :raises ForbiddenError: when the caller's role may not; see :data:`dashboard.principal.ROLES`.
    """

    def __init__(self, views: Views, handler: Handler, role: Role) -> None:
        self._views = views
        self._handler = handler
        self.role = role

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        view = self._views.of(principal_of_request(request))
        view.require(self.role)
        return await self._handler(request, view)


def reads(views: Views, path: str, handler: Handler, role: Role = "viewer") -> Route:
    """A route that changes nothing."""
    return Route(path, Endpoint(views, handler, role).answer, methods=["GET"])


def acts(views: Views, path: str, handler: Handler, role: Role = "operator") -> Route:
    """A route that changes something."""
    return Route(path, Endpoint(views, handler, role).answer, methods=["POST"])
