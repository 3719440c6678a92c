"""What the dashboard raises, by what a caller does about it.

DashboardError
├── BadRequestError   the request is wrong: answer 400 with the text
├── ForbiddenError    who asks may not: answer 403 with the text
├── NotFoundError     there is none, or none for who asks: answer 404 with the text
├── AccessError       it would be open to everybody: do not start
├── IssuerError       whoever issues tokens does not answer: answer 503
└── PortBusyError     the port is taken: try another one
"""

from __future__ import annotations


class DashboardError(Exception):
    """The text is a sentence for the user."""


class BadRequestError(DashboardError):
    """A request asks for what cannot be; the text says what is wrong with it."""


class ForbiddenError(DashboardError):
    """Who asks may not do that; the text says what is missing."""


class NotFoundError(DashboardError):
    """It does not exist, or not for who asks: the text is the same for both."""


class AccessError(DashboardError):
    """The dashboard would be open to everybody; the text says what to do."""


class IssuerError(DashboardError):
    """The issuer of tokens does not answer: nobody who shows one can be let in now."""


class PortBusyError(DashboardError):
    """Another program has the port."""
