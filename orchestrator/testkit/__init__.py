"""Given/when/then for sagas: a test reads as the business process. No event loop, broker or clock.

    story = Story(ORDER_FULFILMENT).starts(order)
    story.sends("reserve", "charge", "create_label")
    story.succeeds("reserve", StockReserved(...))
    story.refuses("charge", PaymentDeclined(...))
    story.undoes("reserve")

`story.py` says what can be told; `invariants.py` what is checked silently after every input; `explore.py` runs random
sagas against random participants and operators, judged by what has really happened in their world.
"""

from orchestrator.testkit.expectation import Unexpected
from orchestrator.testkit.invariants import Broken
from orchestrator.testkit.reading import Sent
from orchestrator.testkit.story import Story

__all__ = ["Broken", "Sent", "Story", "Unexpected"]
