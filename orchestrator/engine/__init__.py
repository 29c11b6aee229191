"""The pure engine: `decide(book, process, input) -> Decision`. No event loop, clock, randomness or I/O in here."""
