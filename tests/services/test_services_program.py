"""`python -m services`: which services, which settings, and the handlers file that the orchestrator's verify reads."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from contracts.catalog import standard_catalog
from operations.endpoints import Endpoints, RedisEndpoints
from services import __main__ as program
from services.registry import HANDLERS_FILE, OPTIONS, REGISTRY, handlers_json
from services.sdk import StartRefused
from services.sdk.host import HostSettings

STACK = Endpoints(
    kafka="127.0.0.1:1",
    redis=RedisEndpoints(orchestrator="redis://127.0.0.1:2/0", services="redis://127.0.0.1:3/0"),
    sandbox="http://127.0.0.1:4/",
)


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(program.app, list(words))
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


@pytest.fixture
def endpoints_file(tmp_path: Path) -> Path:
    file = tmp_path / "endpoints.json"
    file.write_text(STACK.model_dump_json())
    return file


def test_an_unknown_service_is_named_beside_the_known_ones() -> None:
    code, output = run("inventory", "paymnt")

    assert code == 2
    assert "unknown service 'paymnt'; known are document-filing, document-signature," in output


def test_without_a_service_nothing_starts() -> None:
    code, output = run()

    assert code == 2
    assert "name at least one service" in output


@pytest.mark.parametrize("pair", ["opening_stock", "openingstock=local"])
def test_an_option_that_means_nothing_is_refused(pair: str) -> None:
    code, output = run("inventory", "--option", pair)

    assert code == 2
    assert "is not NAME=VALUE" in output


def test_without_a_stack_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    code, output = run("inventory", "--endpoints", str(tmp_path / "none.json"))

    assert code == 1
    assert "make up" in output


def test_list_shows_every_service() -> None:
    code, output = run("--list")

    assert code == 0
    assert all(name in output for name in REGISTRY)


def test_the_committed_handlers_file_is_the_generated_one() -> None:
    assert run("--check-handlers")[0] == 0


def test_a_stale_handlers_file_is_found_and_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "handlers.json"
    monkeypatch.setattr(program, "HANDLERS_FILE", file)
    stale = run("--check-handlers")

    written = run("--write-handlers")

    assert stale[0] == 1
    assert "stale" in stale[1]
    assert (written[0], run("--check-handlers")[0]) == (0, 0)
    assert file.read_bytes() == HANDLERS_FILE.read_bytes()


def test_handlers_name_only_types_that_have_a_contract() -> None:
    catalog = standard_catalog()
    entries = orjson.loads(handlers_json())["handlers"]
    names = [name for entry in entries for name in (*entry["handles"], *entry["publishes"])]

    assert [entry["service"] for entry in entries] == sorted(REGISTRY)
    assert {"inventory", "payment", "shipping", "stock-report", "lead-alert", "invoicing"} <= set(REGISTRY)
    assert all(catalog.get(name) for name in names)


CONTRACT_ONLY = {
    "accounts.activate.v1",
    "accounts.close.v1",
    "accounts.create.v1",
    "identity.verify.v1",
    "inventory.receive.v1",
    "notifications.queue-email.v1",
    "notifications.remove-email.v1",
    "purchasing.cancel.v1",
    "purchasing.order.v1",
    "storefront.mark.v1",
}
"""Commands whose contract is public, and which no automation here handles; a new automation leaves this list."""


def test_every_command_of_the_business_contexts_is_handled_and_its_outcomes_are_published() -> None:
    entries = orjson.loads(handlers_json())["handlers"]
    handled = {name for entry in entries for name in entry["handles"]}
    commands = standard_catalog().commands()
    assert {command.type for command in commands} - handled == CONTRACT_ONLY
    for command in commands:
        if command.type in CONTRACT_ONLY:
            continue
        (entry,) = [one for one in entries if command.type in one["handles"]]
        outcomes = {outcome.type for outcome in (*command.succeeds, *command.refuses)}
        assert outcomes <= set(entry["publishes"])


def settings(endpoints_file: Path, environment: program.Environment, **given: str) -> HostSettings:
    return program._settings(("payment",), environment, endpoints_file, None, None, given)


def test_the_local_stack_brings_its_own_outside_world(endpoints_file: Path) -> None:
    found = settings(endpoints_file, program.Environment())

    assert found.redis_url == STACK.redis.services
    assert found.instance == "payment-1"
    assert found.options == {
        "payment_url": "http://127.0.0.1:4/payment",
        "carrier_url": "http://127.0.0.1:4/carrier",
        "slack_url": "http://127.0.0.1:4/slack/webhook",
        "crm_url": "http://127.0.0.1:4/crm",
        "accounting_url": "http://127.0.0.1:4/accounting",
        "signature_url": "http://127.0.0.1:4/signature",
        "opening_stock": "local",
    }


def test_an_option_comes_before_the_environment_and_that_before_the_local_stack(
    endpoints_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERPOINT_PAYMENT_URL", "https://pay.example")
    monkeypatch.setenv("COUNTERPOINT_CARRIER_URL", "https://carrier.example")

    found = settings(endpoints_file, program.Environment(), payment_url="https://other.example")

    assert found.options["payment_url"] == "https://other.example"
    assert found.options["carrier_url"] == "https://carrier.example"


def test_production_says_nothing_by_itself() -> None:
    assert program.local_options(STACK.model_copy(update={"sandbox": None})) == {}


def test_every_option_can_be_set_by_the_environment() -> None:
    assert set(OPTIONS) <= set(program.Environment.model_fields)


@pytest.mark.parametrize(
    ("service", "options", "complaint"),
    [
        ("inventory", {"opening_stock": "plenty"}, "opening_stock is 'plenty'"),
        ("payment", {}, "set COUNTERPOINT_PAYMENT_URL or --option payment_url=URL"),
        ("shipping", {}, "set COUNTERPOINT_CARRIER_URL or --option carrier_url=URL"),
        ("lead-alert", {}, "set COUNTERPOINT_SLACK_URL"),
        ("lead-crm", {}, "set COUNTERPOINT_CRM_URL"),
        ("invoicing", {}, "set COUNTERPOINT_ACCOUNTING_URL"),
        ("document-signature", {}, "set COUNTERPOINT_SIGNATURE_URL"),
        ("document-filing", {}, "set COUNTERPOINT_DOCUMENTS_INCOMING"),
        ("document-filing", {"documents_incoming": "absent"}, "'absent', which is not a folder"),
        ("document-filing", {"documents_incoming": ".", "documents_completed": "."}, "within one another"),
        ("payment", {"providers": "fast"}, "providers is 'fast'"),
        ("payment", {"payment_url": "http://p", "provider_total_seconds": "soon"}, "not a number of seconds"),
        ("shipping", {"carrier_url": "http://c", "provider_answer_seconds": "-1"}, "not a number of seconds"),
    ],
)
async def test_a_setting_that_means_nothing_refuses_the_start(
    service: str, options: dict[str, str], complaint: str
) -> None:
    with pytest.raises(StartRefused, match=complaint):
        async with REGISTRY[service].service.connect(HostSettings("k:1", "redis://127.0.0.1:1", 0, "i", options)):
            pass


@pytest.mark.parametrize(("service", "fake"), [("payment", "MemoryGateway"), ("shipping", "MemoryCarrier")])
async def test_instant_providers_are_the_fakes(service: str, fake: str) -> None:
    host = HostSettings("k:1", "redis://127.0.0.1:1", 0, "i", {"providers": "instant"})
    async with REGISTRY[service].service.connect(host) as resources:
        assert [type(resource).__name__ for resource in resources] == [fake]
