"""The outside world on a bare machine: one HTTP server, one file a provider, and a ledger that forgets nothing."""
