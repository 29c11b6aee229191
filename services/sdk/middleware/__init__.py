"""What happens to every message, one idea a file:

    decode -> observe -> dedupe (with the refusals of age, deadline, undo and bad input) -> retry -> dead letter

`chain.py` puts them together for one service.
"""
