"""Runs one process in memory with the real engine, in virtual time: for `counterpoint try`. No stack, no clock."""
