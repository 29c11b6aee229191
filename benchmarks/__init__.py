"""Where every speed claim comes from: `make bench`."""
