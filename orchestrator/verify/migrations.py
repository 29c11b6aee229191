"""`migration`: what a version says that it takes over, it can take over.

It compares two versions, so it is no rule over one saga. What depends on how far a process has come is not its matter:
`counterpoint versions migrate --dry-run` asks each process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.engine.correspondence import difference, title_of
from orchestrator.engine.plan import Node, Plan, PlanError, compile_saga
from orchestrator.language.blocks import Named, Parallel, Sequence
from orchestrator.language.location import Location
from orchestrator.language.migration import Migration
from orchestrator.language.saga import Saga
from orchestrator.language.signature import SignatureError
from orchestrator.verify.finding import Finding

RULE = "migration"


def check_migrations(sagas: Iterable[Saga]) -> Iterator[Finding]:
    """Of versions that are there together; that an older one is known at all, `check_versions` says."""
    every = list(sagas)
    for saga in every:
        for migration in saga.migrates:
            older = next((s for s in every if (s.name, s.version) == (saga.name, migration.from_version)), None)
            if older is not None:
                yield from _Check(older, saga, migration).findings()


class _Check:
    def __init__(self, older: Saga, newer: Saga, migration: Migration) -> None:
        self._older = older
        self._newer = newer
        self._migration = migration

    def findings(self) -> Iterator[Finding]:
        older, newer = self._older, self._newer
        if older.starts_on.type != newer.starts_on.type:
            what = f"version {older.version} starts on {older.starts_on.type}, this one on {newer.starts_on.type}"
            yield self._never(newer.location, what, "let it start on the same event, or drop the migration")
            return
        try:
            old, new = compile_saga(older), compile_saga(newer)
        except (PlanError, SignatureError):
            return  # other rules say so, with file and line
        wrong = list(self._names(old, new)) + list(self._same_names(old, new))
        yield from wrong
        if not wrong:
            yield from self._beginning(old, new)

    def _names(self, old: Plan, new: Plan) -> Iterator[Finding]:
        """What `renamed` says is so."""
        ours, theirs = _named(new), _named(old)
        for name, other in self._migration.renamed.items():
            if name not in theirs:
                yield self._finding(
                    self._migration.location,
                    f"renamed: version {self._older.version} has no block {name}",
                    f"name one of {', '.join(sorted(theirs))}, or remove it",
                )
            elif other not in ours:
                yield self._finding(
                    self._migration.location,
                    f"renamed: version {self._newer.version} has no block {other}",
                    f"name one of {', '.join(sorted(ours))}, or remove it",
                )
            elif name in ours and name != other and name not in self._migration.renamed.values():
                yield self._finding(
                    ours[name].block.location,
                    f"{name} has become {other}, and another block is called {name} now: ids would be taken for each"
                    " other",
                    f"give this block a name that version {self._older.version} does not have",
                )

    def _same_names(self, old: Plan, new: Plan) -> Iterator[Finding]:
        """A block that has the same name (or is renamed) is the same block."""
        ours = _named(new)
        for name, node in _named(old).items():
            here = ours.get(self._migration.new_name(name))
            why = None if here is None else difference(node, here, self._migration)
            if here is not None and why is not None:
                fix = "leave it as it was, or give it another name; processes that have passed it stay where they are"
                yield self._never(here.block.location, why, fix, f"a process that has begun {name}")

    def _beginning(self, old: Plan, new: Plan) -> Iterator[Finding]:
        """What every process has begun, whatever it is told, must be in the newer version."""
        pairs = [(old.nodes[0], new.nodes[0])]
        while pairs:
            one, other = pairs.pop()
            why = difference(one, other, self._migration)
            if why is None and isinstance(one.block, Sequence | Parallel) and len(one.children) > 0:
                why = self._fewer(one, other)
            if why is not None:
                fix = f"let the body begin as in version {self._older.version}: what is new stands later"
                yield self._never(other.block.location, why, fix)
                return
            if isinstance(one.block, Sequence) and one.children:
                pairs.append((old.nodes[one.children[0]], new.nodes[other.children[0]]))

    @staticmethod
    def _fewer(one: Node, other: Node) -> str | None:
        if isinstance(one.block, Sequence) and not other.children:
            return f"{title_of(one)} is empty"
        if isinstance(one.block, Parallel) and len(one.children) != len(other.children):
            counts = f"{len(one.children)} and then {len(other.children)} branches"
            return f"{title_of(one)}, with which it begins, has {counts}"
        return None

    def _never(self, location: Location, why: str, fix: str, who: str = "no process") -> Finding:
        verb = "can ever be moved" if who == "no process" else "can never be moved"
        what = f"{who} {verb} from version {self._older.version}: {why}"
        return self._finding(location, what, fix)

    def _finding(self, location: Location, message: str, fix: str) -> Finding:
        path = f"migration from version {self._older.version}"
        return Finding(location.file, location.line, self._newer.name, RULE, message, fix, path)


def _named(plan: Plan) -> dict[str, Node]:
    return {node.block.name: node for node in plan.nodes if isinstance(node.block, Named)}
