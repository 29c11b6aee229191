"""What happens to every message, one idea a file:

    decode -> limited (if the service has limits) -> observe -> dedupe (with the refusals of age, deadline, undo and bad
    input) -> retry -> dead letter

`chain.py` puts them together for one service.
"""
