"""Chaos: the real stack under a steady load of orders, while faults are injected; every order must reconcile."""
