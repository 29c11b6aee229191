"""One file per rule. Each offers `check(subject, handlers)`, which yields its findings."""
