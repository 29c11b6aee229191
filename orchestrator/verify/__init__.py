"""Proves a saga before it runs: one file per rule, every finding with file, line and fix."""

from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handler, Handlers, HandlersError, read_handlers
from orchestrator.verify.run import verify_sagas

__all__ = ["Finding", "Handler", "Handlers", "HandlersError", "read_handlers", "verify_sagas"]
