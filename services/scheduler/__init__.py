"""The scheduler: says when a time has come, once, however many replicas there are. No automation of the SDK: it reacts
to the clock and to nothing else."""
