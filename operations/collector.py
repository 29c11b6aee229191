"""Settings of Python's cyclic garbage collector for a program that runs for days.

Reference counts free nearly everything here; cycles come from exceptions and tasks alone. With Python's own thresholds
(a collection every 700 objects) the collector walks through each batch of records dozens of times while it is worked
on: measured, a fifth to a third of a loaded program's processor time (docs/decisions/0004-garbage-collection.md).
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 200_000
"""Net new objects between two collections of the youngest: more than a batch of 5,000 records holds at a
time, so that a batch under work is not walked through."""
YOUNG_COLLECTIONS = 10
"""Of the youngest, before the middle generation is looked at too."""
MIDDLE_COLLECTIONS = 50
"""Of the middle one, before all is."""


def settle_collector() -> None:
    """Call once from a composition root, when everything is imported: what exists by now stays, and is never looked at
    again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_COLLECTIONS, MIDDLE_COLLECTIONS)
