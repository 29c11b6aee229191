"""The same flow on other engines, each with its natural Python SDK, on the same machine.

The programs `dbos_program.py` and `restate_program.py` run in an environment of their own (`install.py`), so that
nothing of the product depends on a rival.
"""
