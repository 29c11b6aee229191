"""Accounts: customers who sign up."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import StringConstraints

from contracts.message import Command, Event, Identifier, Text, UtcTime

EmailAddress: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[^@\s<>,;]+@[^@\s<>,;]+$", max_length=254)]
"""One address, without a display name. 254: the longest that SMTP carries (RFC 5321)."""
CountryCode: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""


class SignupSubmitted(Event, type="accounts.signup-submitted.v1"):
    account_id: Identifier
    email: EmailAddress
    name: Text
    country: CountryCode
    plan: Text


class AccountCreated(Event, type="accounts.created.v1"):
    account_id: Identifier
    at: UtcTime


class CreateAccount(Command, type="accounts.create.v1", succeeds=AccountCreated):
    account_id: Identifier
    email: EmailAddress
    name: Text
    plan: Text


class AccountActivated(Event, type="accounts.activated.v1"):
    account_id: Identifier
    at: UtcTime


class ActivateAccount(Command, type="accounts.activate.v1", succeeds=AccountActivated):
    account_id: Identifier


class AccountClosed(Event, type="accounts.closed.v1"):
    account_id: Identifier
    at: UtcTime


class CloseAccount(Command, type="accounts.close.v1", succeeds=AccountClosed):
    """Closing an account that never came to be is a success."""

    account_id: Identifier
    reason: Text
