"""The demo: a day's orders with everything that goes wrong, and the proof that no cent and no unit is missing."""
