"""What every program needs to be operated: where the stack is, logs, metrics and health over HTTP."""
