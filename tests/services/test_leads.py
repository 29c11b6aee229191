"""Leads: one alert and one record for each, whatever happens between broker, automation and the systems outside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from contracts.leads import CrmRecordCreated, LeadAlertSent, LeadSubmitted
from services.leadalert import handlers as leadalert
from services.leadalert.alert import HEADER_LENGTH_MAX, SECTION_LENGTH_MAX, Chat, alert_of
from services.leadalert.chat_http import SlackWebhook
from services.leadalert.chat_memory import MemoryChat
from services.leadcrm import handlers as leadcrm
from services.leadcrm.crm import Crm, Lead
from services.leadcrm.crm_http import HttpCrm
from services.leadcrm.crm_memory import MemoryCrm
from services.sdk import NotDone, Retry, Unknown
from services.sdk.outside.judgement import CallLimits
from services.sdk.outside.provider_http import ProviderHttp, open_client
from services.sdk.reasons import Reason
from services.sdk.stories import given
from services.sdk.testing import START_MS, Clock, Harness, Published
from tests.services.sandbox_process import Sandbox

QUICK = CallLimits(answer_s=0.3, total_s=0.8, pauses=Retry(attempts=3, first=0.01))
PATIENT = CallLimits(answer_s=10.0, total_s=30.0, pauses=Retry(attempts=5, first=0.01))
LEAD = LeadSubmitted(lead_id="l1", name="Ada", email="ada@example.org", company="Loops Ltd", message="Call me.")
AT = datetime.fromtimestamp(START_MS / 1000, UTC)


def chat_and_clock() -> list[object]:
    return [MemoryChat(), Clock().surroundings()]


def reasons(published: list[Published]) -> list[str]:
    return [dict(one.record.headers).get("dl_reason", b"").decode() for one in published]


async def test_an_alert_is_posted_once_or_somebody_is_told() -> None:
    """With a crash that leaves open whether it was posted, it is not posted again: it is a dead letter."""
    story = given(LEAD).when(leadalert.service, chat_and_clock)
    await story.then(LeadAlertSent(lead_id="l1", at=AT), effects=lambda chat, _: len(chat.posts))


async def test_a_person_who_replays_the_dead_letter_has_it_posted() -> None:
    chat = MemoryChat()
    chat.misbehave.append("silent")
    async with Harness(leadalert.service, [chat, Clock().surroundings()]) as harness:
        (letter,) = await harness.deliver(LEAD)
        replayed = await harness.replay(letter)

    assert reasons([letter]) == [Reason.HANDLER_FAILED]
    assert [one.message for one in replayed] == [LeadAlertSent(lead_id="l1", at=AT)]
    assert len(chat.posts) == 1


async def test_a_chat_that_is_away_is_waited_for() -> None:
    chat = MemoryChat()
    chat.misbehave.extend(["unavailable"] * 10)
    async with Harness(leadalert.service, [chat, Clock().surroundings()]) as harness:
        (sent,) = await harness.deliver(LEAD)

    assert isinstance(sent.message, LeadAlertSent)
    assert len(chat.posts) == 1


async def test_an_answer_that_was_lost_is_not_asked_for_again() -> None:
    chat = MemoryChat()
    chat.misbehave.append("lost")
    async with Harness(leadalert.service, [chat, Clock().surroundings()]) as harness:
        published = await harness.deliver(LEAD)

    assert reasons(published) == [Reason.HANDLER_FAILED]
    assert len(chat.posts) == 1


def test_what_a_stranger_wrote_is_no_mark_up() -> None:
    alert = alert_of(LEAD.model_copy(update={"name": "<!channel>", "company": None, "message": "*x* <http://evil|ok>"}))

    assert alert.text == "New lead: &lt;!channel&gt;"
    texts = [alert.blocks[0]["text"], *alert.blocks[1]["fields"], alert.blocks[2]["text"]]
    assert {text["type"] for text in texts} == {"plain_text"}
    assert [text["text"] for text in texts[1:4]] == ["Name: <!channel>", "Email: ada@example.org", "Lead: l1"]


def test_an_alert_is_as_long_as_slack_takes_it() -> None:
    long = LEAD.model_copy(update={"name": "n" * 900, "company": "c" * 900, "message": "m" * 9_000})
    header, _, message = alert_of(long).blocks

    assert len(header["text"]["text"]) == HEADER_LENGTH_MAX
    assert len(message["text"]["text"]) == SECTION_LENGTH_MAX


async def test_a_record_is_created_once_wherever_it_dies() -> None:
    story = given(LEAD).when(leadcrm.service, lambda: [MemoryCrm()])
    await story.then(CrmRecordCreated(lead_id="l1", record_id="rec-lead-crm/l1"), effects=lambda crm: len(crm.records))


async def test_two_events_of_one_lead_are_one_record() -> None:
    crm = MemoryCrm()
    async with Harness(leadcrm.service, [crm]) as harness:
        first = await harness.deliver(LEAD, source="/web/a")
        second = await harness.deliver(LEAD, source="/web/b")

    assert [one.message for one in first] == [one.message for one in second]
    assert len(crm.records) == 1


async def test_another_content_of_the_same_lead_is_for_a_person() -> None:
    crm = MemoryCrm()
    async with Harness(leadcrm.service, [crm]) as harness:
        await harness.deliver(LEAD)
        published = await harness.deliver(LEAD.model_copy(update={"name": "Eve"}))

    assert reasons(published) == [Reason.HANDLER_FAILED]
    assert [lead.name for lead in crm.records.values()] == ["Ada"]
    assert harness.clock.slept_s == []


@pytest.mark.parametrize("fault", ["lost", "silent", "unavailable"])
async def test_a_crm_that_fails_once_is_asked_again_with_the_same_key(fault: str) -> None:
    crm = MemoryCrm()
    crm.misbehave.append(fault)  # type: ignore[arg-type]
    async with Harness(leadcrm.service, [crm]) as harness:
        (created,) = await harness.deliver(LEAD)

    assert isinstance(created.message, CrmRecordCreated)
    assert len(crm.records) == 1


async def test_both_react_to_the_same_lead_each_by_itself() -> None:
    assert leadalert.service.topics[0] == "lead-alert.replays" and "leads.events" in leadalert.service.topics
    assert "leads.events" in leadcrm.service.topics
    assert leadalert.service.name != leadcrm.service.name, "a group each"


@asynccontextmanager
async def slack(url: str, limits: CallLimits = PATIENT) -> AsyncIterator[Chat]:
    whole = f"{url}/slack/webhook"
    async with open_client(whole, limits) as client:
        yield SlackWebhook(ProviderHttp("Slack", client, limits), whole)


@asynccontextmanager
async def crm_over_http(url: str, limits: CallLimits = PATIENT) -> AsyncIterator[Crm]:
    async with open_client(f"{url}/crm/", limits) as client:
        yield HttpCrm(ProviderHttp("the CRM", client, limits))


def lead_of(order: str) -> LeadSubmitted:
    return LEAD.model_copy(update={"lead_id": order})


@pytest.mark.stack
async def test_slack_is_told_in_its_own_words(sandbox: Sandbox, order: str) -> None:
    async with slack(sandbox.url) as chat:
        await chat.post(alert_of(lead_of(order)))

    (effect,) = sandbox.ledger(order)
    assert (effect["provider"], effect["kind"], effect["idempotency_key"]) == ("slack", "alert", "")
    assert effect["data"]["text"] == "New lead: Ada (Loops Ltd)"


@pytest.mark.stack
async def test_slack_that_loses_its_answer_has_one_post_and_we_do_not_know(sandbox: Sandbox, order: str) -> None:
    sandbox.misbehave("slack", lose_answer=True)
    async with slack(sandbox.url) as chat:
        with pytest.raises(Unknown):
            await chat.post(alert_of(lead_of(order)))

    assert sandbox.kinds(order) == ["alert"]


@pytest.mark.stack
async def test_slack_that_refuses_every_time_has_no_post_and_we_know_it(sandbox: Sandbox, order: str) -> None:
    sandbox.misbehave("slack", error_rate=1.0)
    async with slack(sandbox.url, QUICK) as chat:
        with pytest.raises(NotDone) as raised:
            await chat.post(alert_of(lead_of(order)))

    assert raised.value.retryable
    assert sandbox.kinds(order) == []


@pytest.mark.stack
async def test_the_crm_makes_one_record_a_key_also_when_its_answer_is_lost(sandbox: Sandbox, order: str) -> None:
    lead = Lead(order, "Ada", "ada@example.org", None, "Hello")
    sandbox.misbehave("crm", lose_answer=True)
    async with crm_over_http(sandbox.url) as crm:
        first = await crm.create_record(lead, key=f"{order}/record")
        assert await crm.create_record(lead, key=f"{order}/record") == first

    assert sandbox.kinds(order) == ["record"]
    assert sandbox.ledger(order)[0]["data"]["record_id"] == first


@pytest.mark.stack
async def test_the_key_of_another_content_is_refused(sandbox: Sandbox, order: str) -> None:
    async with crm_over_http(sandbox.url) as crm:
        await crm.create_record(Lead(order, "Ada", "ada@example.org", None, "Hello"), key=order)
        with pytest.raises(NotDone, match="idempotency_key_reused") as raised:
            await crm.create_record(Lead(order, "Eve", "eve@example.org", None, "Hello"), key=order)

    assert not raised.value.retryable
