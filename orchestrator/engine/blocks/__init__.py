"""One file per block: all its transitions, and nothing else.

A block's module has four functions: `start` (the block's turn has come), `child_done`, `undo` (undo whatever the block
has done, then say `turn.undone`), `child_undone`.
"""
