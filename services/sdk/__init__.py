"""All that a service team imports: one `Service`, handlers that take a message and return messages.

    service = Service("payment", resources=connect, contexts=("payment",))

    @service.handles(ChargePayment, retry=Retry(attempts=4, first=0.2), unfinished="repeat")
    async def charge(command: ChargePayment, gateway: PaymentGateway, delivery: Delivery) -> PaymentCaptured: ...

Tests of a service use `services.sdk.testing`.
"""

from services.sdk.batch import Deliveries
from services.sdk.delivery import Delivery
from services.sdk.failures import NotDone, RegistrationError, StartRefused, Unknown
from services.sdk.handler import Handler
from services.sdk.limits import Concurrency, Rate
from services.sdk.retry import ONCE, Retry
from services.sdk.service import Service

__all__ = [
    "ONCE",
    "Concurrency",
    "Deliveries",
    "Delivery",
    "Handler",
    "NotDone",
    "Rate",
    "RegistrationError",
    "Retry",
    "Service",
    "StartRefused",
    "Unknown",
]
