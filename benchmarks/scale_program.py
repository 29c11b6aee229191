"""The orchestrator as it is, with the sagas of the scale benchmarks beside its own.

`python -m benchmarks.scale_program` takes what `python -m orchestrator` takes. (Those sagas are no business of the
product, and in no file of fingerprints.)
"""

from __future__ import annotations

from benchmarks.scale_sagas import scale_book
from orchestrator import app

if __name__ == "__main__":
    app._verified_book = scale_book
    app.run()
