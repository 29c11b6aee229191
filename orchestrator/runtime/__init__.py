"""The shell around the pure engine: loops, ports and their adapters. Everything that waits, retries or counts is
here."""
