"""That a version of a saga takes over the processes of an older one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from orchestrator.language.location import Location


def _where_written() -> Location:
    frame = sys._getframe(2)
    return Location(frame.f_code.co_filename, frame.f_lineno)


@dataclass(frozen=True, slots=True)
class Migration:
    """Declared on the newer version: `Saga(..., version=2, migrates=(Migration(from_version=1),))`.

    Nothing moves by itself: `counterpoint versions migrate` moves processes one by one, and only those whose state can
    be carried over (docs/decisions/0056-migration.md).

    Args:
        from_version: The older version.
        renamed: Old name -> new name, of steps and of other blocks that have names.

    Raises:
        ValueError: a version below 1, or two names that become one.
    """

    from_version: int
    renamed: Mapping[str, str] = field(default_factory=dict, hash=False)
    location: Location = field(default_factory=_where_written, compare=False)

    def __post_init__(self) -> None:
        if self.from_version < 1:
            raise ValueError(f"versions count from 1, not {self.from_version}")
        if len(set(self.renamed.values())) < len(self.renamed):
            raise ValueError("two blocks of the older version cannot become one")
        object.__setattr__(self, "renamed", MappingProxyType(dict(sorted(self.renamed.items()))))

    def new_name(self, name: str) -> str:
        """What a block of the older version is called in the newer one."""
        return self.renamed.get(name, name)
