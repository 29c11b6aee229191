"""Simulation: the real router, engine, clock and SDK in a deterministic, faulty world in virtual time."""
