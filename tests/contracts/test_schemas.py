"""The committed schemas are current, and an incompatible change of a published type is refused, by name and side."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts.catalog import standard_catalog
from contracts.orders import OrderPlaced
from contracts.schemas.__main__ import main
from contracts.schemas.compatibility import incompatibilities
from contracts.schemas.generate import Schema, render, schema_files, schema_of
from contracts.schemas.store import FOLDER, compare, write
from tests.contracts.samples import MESSAGES

ROOT = Path(__file__).resolve().parents[2]
WANTED = schema_files(standard_catalog())
RETRACTED: dict[str, str] = {
    "65882452c9292bf2df18e1e3a1ba86bcfd3919b8": "0050",  # approval
    "7347e9732c6d35349dd2a01ef9d73e10b5ec1643": "0050",  # cancel
    "094f30c31d593b0594420287fdddfe960e9069c7": "0050",  # signal
}
"""Git blob of a schema that was committed by mistake and never published -> the decision page that says so."""


def test_the_committed_schemas_are_up_to_date() -> None:
    comparison = compare(WANTED)
    assert comparison.up_to_date, f"{comparison}: python -m contracts.schemas --write"


def test_generation_is_deterministic_and_valid() -> None:
    for message in MESSAGES:
        assert render(schema_of(message)) == render(schema_of(message)) == WANTED[f"{message.type}.json"]
        Draft202012Validator.check_schema(schema_of(message))


def test_the_key_and_the_topic_are_said() -> None:
    placed = schema_of(OrderPlaced)
    assert (placed["x-key"], placed["x-topic"], placed["x-kind"]) == ("order_id", "orders.events", "event")


def test_no_committed_version_of_a_type_was_ever_broken() -> None:
    """The baseline is the whole history: deleting a file, or writing it by hand in the same commit, is no way around.

    A shallow clone shows less history, and a source archive none: then the committed files alone are the baseline.
    """
    assert broken_promises(ROOT, WANTED) == []


def broken_promises(root: Path, wanted: dict[str, bytes]) -> list[str]:
    """What `wanted` breaks of any version of a schema in the history of HEAD."""
    return [
        f"{name} at {blob[:12]}: {change}"
        for name, blob in _committed_schemas(root)
        if name in wanted and blob not in RETRACTED
        for change in incompatibilities(json.loads(_git(root, "cat-file", "blob", blob)), json.loads(wanted[name]))
    ]


def _committed_schemas(root: Path) -> list[tuple[str, str]]:
    """File name and blob of every version of every schema that is in the history of HEAD."""
    if not (root / ".git").exists():
        return []
    log = _git(root, "log", "--format=", "--raw", "--no-abbrev", "--no-renames", "-z", "--", "contracts/schemas/*.json")
    versions = {
        (Path(path).name, meta.split()[3])
        for meta, path in pairwise(log.split("\0"))
        if meta.strip().startswith(":") and set(meta.split()[3]) != {"0"}
    }
    return sorted(versions)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def test_a_schema_that_was_deleted_and_written_anew_is_found_in_the_history(tmp_path: Path) -> None:
    def commit(message: str) -> None:
        _git(tmp_path, "add", "--all")
        _git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", message)

    _git(tmp_path, "init", "--quiet")
    file = tmp_path / "contracts" / "schemas" / "orders.placed.v1.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(render(changed(OLD, lambda schema: schema["properties"].update(old_field={"type": "string"}))))
    commit("published")
    file.unlink()
    commit("deleted")
    file.write_bytes(WANTED[file.name])
    commit("written anew")
    (found,) = broken_promises(tmp_path, WANTED)
    assert found.endswith("old_field: the field was removed or renamed (breaks old readers)")


# Planted changes: each is refused, with the side that it breaks.

OLD = schema_of(OrderPlaced)
Change = Callable[[Schema], Any]


def drop(field: str) -> Change:
    return lambda schema: schema["properties"].pop(field)


def put(field: str, **keywords: Any) -> Change:
    return lambda schema: schema["properties"][field].update(keywords)


def rename(schema: Schema) -> None:
    schema["properties"]["buyer_id"] = schema["properties"].pop("customer_id")
    schema["required"] = ["buyer_id" if name == "customer_id" else name for name in schema["required"]]


def require_new(schema: Schema) -> None:
    schema["properties"]["channel"] = {"type": "string"}
    schema["required"].append("channel")


def add_to_line(schema: Schema) -> None:
    schema["$defs"]["OrderLine"]["required"].append("unit")
    schema["$defs"]["OrderLine"]["properties"]["unit"] = {"type": "string"}


def narrow_line(schema: Schema) -> None:
    schema["$defs"]["OrderLine"]["properties"]["quantity"]["maximum"] = 10


def forbid_unknown(schema: Schema) -> None:
    schema["additionalProperties"] = False


def not_null(schema: Schema) -> None:
    schema["properties"]["customer_email"] = {"type": "string", "minLength": 1, "maxLength": 1000}


def enumerate_currency(schema: Schema) -> None:
    schema["properties"]["currency"]["enum"] = ["EUR"]


INCOMPATIBLE: dict[str, tuple[Change, str]] = {
    "a field is removed": (drop("currency"), "currency: the field was removed or renamed (breaks old readers)"),
    "an optional field is removed": (
        drop("customer_email"),
        "customer_email: the field was removed or renamed (breaks old readers)",
    ),
    "a field is renamed": (rename, "customer_id: the field was removed or renamed (breaks old readers)"),
    "a new field is required": (require_new, "channel: a new field is required (breaks new readers)"),
    "a new nested field is required": (add_to_line, "lines[].unit: a new field is required (breaks new readers)"),
    "optional becomes required": (
        lambda schema: schema["required"].append("customer_email"),
        "customer_email: an optional field became required (breaks new readers)",
    ),
    "required becomes optional": (
        lambda schema: schema["required"].remove("currency"),
        "currency: a required field became optional (breaks old readers)",
    ),
    "another type": (
        put("total_cents", type="string"),
        "total_cents: type was 'integer' and is 'string' (breaks both)",
    ),
    "another pattern": (
        put("order_id", pattern="^[0-9]+$"),
        "order_id: pattern was '^[A-Za-z0-9._-]{1,128}$' and is '^[0-9]+$' (breaks both)",
    ),
    "a dropped pattern": (
        lambda schema: schema["properties"]["order_id"].pop("pattern"),
        "order_id: pattern was '^[A-Za-z0-9._-]{1,128}$' and is None (breaks both)",
    ),
    "a lower maximum": (
        put("total_cents", maximum=10),
        "total_cents: narrower: maximum was 1000000000000000 and is 10 (breaks new readers)",
    ),
    "a higher maximum": (
        put("total_cents", maximum=10**16),
        "total_cents: wider: maximum was 1000000000000000 and is 10000000000000000 (breaks old readers)",
    ),
    "no maximum": (
        lambda schema: schema["properties"]["total_cents"].pop("maximum"),
        "total_cents: wider: maximum was 1000000000000000 and is None (breaks old readers)",
    ),
    "a higher minimum": (
        put("total_cents", minimum=1),
        "total_cents: narrower: minimum was 0 and is 1 (breaks new readers)",
    ),
    "a lower minimum": (
        put("lines", minItems=0),
        "lines: wider: minItems was 1 and is 0 (breaks old readers)",
    ),
    "a new bound": (
        put("currency", maxLength=3),
        "currency: narrower: maxLength was None and is 3 (breaks new readers)",
    ),
    "a nested bound": (
        narrow_line,
        "lines[].quantity: narrower: maximum was 1000000000 and is 10 (breaks new readers)",
    ),
    "a new list of values": (
        enumerate_currency,
        "currency: the list of allowed values was added or dropped (breaks both)",
    ),
    "null is no longer allowed": (not_null, "customer_email: nullable was True and is None (breaks both)"),
    "another meaning of absence": (
        put("customer_email", default="nobody"),
        "customer_email: an absent value meant None and means 'nobody' (breaks both)",
    ),
    "unknown fields are forbidden": (
        forbid_unknown,
        "the message: additionalProperties was None and is False (breaks both)",
    ),
    "another key": (
        lambda schema: schema.update({"x-key": "customer_id"}),
        "the message: x-key was 'order_id' and is 'customer_id' (breaks both)",
    ),
    "another topic": (
        lambda schema: schema.update({"x-topic": "sales.events"}),
        "the message: x-topic was 'orders.events' and is 'sales.events' (breaks both)",
    ),
}


@pytest.mark.parametrize("name", INCOMPATIBLE)
def test_an_incompatible_change_is_found(name: str) -> None:
    change, said = INCOMPATIBLE[name]
    assert said in [str(found) for found in incompatibilities(OLD, changed(OLD, change))]


def changed(schema: Schema, change: Change) -> Schema:
    new = copy.deepcopy(schema)
    change(new)
    return new


def test_allowed_values_are_neither_added_nor_removed() -> None:
    old = json.loads(WANTED["orders.cancelled.v1.json"])
    fewer = changed(old, lambda s: s["properties"]["reason"]["enum"].remove("silent"))
    more = changed(old, lambda s: s["properties"]["reason"]["enum"].append("bored"))
    assert [str(found) for found in incompatibilities(old, fewer)] == [
        "reason: narrower: ['silent'] are no longer allowed values (breaks new readers)"
    ]
    assert [str(found) for found in incompatibilities(old, more)] == [
        "reason: wider: ['bored'] are new allowed values (breaks old readers)"
    ]


def test_the_outcomes_of_a_command_are_part_of_its_contract() -> None:
    old = json.loads(WANTED["payment.charge.v1.json"])
    new = changed(old, lambda schema: schema["x-refuses"].append("payment.blocked.v1"))
    assert [found.breaks for found in incompatibilities(old, new)] == ["both"]


def add_optional(schema: Schema) -> None:
    schema["properties"]["channel"] = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}


def annotate(schema: Schema) -> None:
    schema["description"] = "Said better."
    schema["properties"]["currency"]["title"] = "ISO 4217"


def move_definition(schema: Schema) -> None:
    schema["properties"]["ship_to"] = schema["$defs"].pop("Address")


@pytest.mark.parametrize("change", (add_optional, annotate, move_definition))
def test_a_compatible_change_is_allowed(change: Change) -> None:
    assert incompatibilities(OLD, changed(OLD, change)) == ()


def test_a_field_may_be_called_like_an_annotation() -> None:
    old = changed(OLD, lambda schema: schema["properties"].update(title={"type": "string"}))
    assert [found.where for found in incompatibilities(old, OLD)] == ["title"]


# The gate in the program: `--write` itself refuses.


def test_write_refuses_to_change_a_published_type_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = changed(OLD, lambda schema: schema["properties"].update(old_field={"type": "string"}))
    file = tmp_path / "orders.placed.v1.json"
    file.write_bytes(render(published))
    assert main(["--write", "--folder", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "orders.placed.v1.json would change incompatibly; leave that type as it is and add a new version" in said
    assert "old_field: the field was removed or renamed (breaks old readers)" in said
    assert "nothing was written" in said
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == render(published)
    assert main(["--check", "--folder", str(tmp_path)]) == 1


def test_write_refuses_to_forget_a_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "orders.paused.v1.json").write_bytes(render(OLD))
    assert main(["--write", "--folder", str(tmp_path)]) == 1
    assert "orders.paused.v1.json has no message any more" in capsys.readouterr().out


def test_write_adds_new_types_and_optional_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = changed(OLD, lambda schema: schema["properties"].pop("placed_at"))
    (tmp_path / "orders.placed.v1.json").write_bytes(render(old))
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    assert "python -m contracts.schemas --write" in capsys.readouterr().out
    assert main(["--write", "--folder", str(tmp_path)]) == 0
    assert main(["--check", "--folder", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == WANTED


def test_a_comparison_says_what_is_missing(tmp_path: Path) -> None:
    assert compare(WANTED, tmp_path).missing == tuple(WANTED)
    assert write(WANTED, tmp_path).broken == {}
    assert compare(WANTED, tmp_path).up_to_date


def test_the_folder_is_the_package() -> None:
    assert FOLDER == ROOT / "contracts" / "schemas"
