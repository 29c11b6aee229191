"""The outside systems, one file each. A new one is a file with a `Provider`, and a line here."""

from deploy.local.sandbox.provider import Provider
from deploy.local.sandbox.providers.accounting import ACCOUNTING
from deploy.local.sandbox.providers.carrier import CARRIER
from deploy.local.sandbox.providers.crm import CRM
from deploy.local.sandbox.providers.payment import PAYMENT
from deploy.local.sandbox.providers.signature import SIGNATURE
from deploy.local.sandbox.providers.slack import SLACK

PROVIDERS: tuple[Provider, ...] = (PAYMENT, CARRIER, SLACK, CRM, ACCOUNTING, SIGNATURE)
