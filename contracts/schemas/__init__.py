"""The JSON Schemas of every message, for clients in any language: one `<type>.json` in this folder, generated.

`python -m contracts.schemas --write` writes them and refuses an incompatible change; `--check` says what is not up to
date.
"""
