"""The outside systems, one file each. A new one is a file with a `Provider`, and a line here."""

from deploy.local.sandbox.provider import Provider
from deploy.local.sandbox.providers.carrier import CARRIER
from deploy.local.sandbox.providers.payment import PAYMENT

PROVIDERS: tuple[Provider, ...] = (PAYMENT, CARRIER)
