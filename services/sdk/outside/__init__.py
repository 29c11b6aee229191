"""How services call outside systems: time limits, repeats under one idempotency key, and what a failure proves."""
