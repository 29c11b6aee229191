"""`python -m orchestrator`."""

from orchestrator.app import run

if __name__ == "__main__":
    run()
