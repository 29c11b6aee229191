"""Links: one thing said to one process, once, until a time, by whoever has the link."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ids import partition_of
from contracts.process import ApprovalGiven, SignalSent
from contracts.record import IncomingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.runtime.inbox_writer import input_record
from services.gateway.invitations import Asked, invitation_of
from services.sdk.resume_link import Approval, Invitation, LinkRefused, Signal, mint, open_link
from tests.gateway.door import LINK_SECRET, NOW_MS, door

NOW_S = NOW_MS // 1000
NONCE = "0123456789abcdef"
BROWSER = {"accept": "text/html"}
SIGNAL = Invitation("restock:e7", Signal("goods-arrived", {"quantity": 3}, "ann"), NOW_S + 3_600)
APPROVAL = Invitation(
    "onboarding:a17",
    Approval("review", "ann@example.org", ("reviewer",), form={"case": 7}, asks={"reason": "text", "score": "integer"}),
    NOW_S + 3_600,
    "Is <Ada> who she says?",
)


def link(invitation: Invitation, nonce: str = NONCE) -> str:
    return f"/resume/{mint(LINK_SECRET, invitation, nonce)}"


def payload(record: IncomingRecord) -> Any:
    return orjson.loads(record.value or b"")


async def test_a_link_sends_its_signal_as_the_command_line_does() -> None:
    async with door() as at:
        answer = await at.client.post(link(SIGNAL))

        (record,) = at.published
        message = SignalSent(process_id="restock:e7", signal="goods-arrived", payload={"quantity": 3}, sender="ann")
        told = input_record(message, "any")
        assert answer.status_code == 202
        assert (record.topic, record.key, record.value) == (told.topic, told.key, told.value)
        assert (
            (record.topic, record.partition) == (INBOX, told.partition) == (INBOX, partition_of("restock:e7", SHARDS))
        )
        assert at.envelopes()[0].type == "orchestrator.signal.v1"


async def test_each_link_works_once() -> None:
    async with door() as at:
        first, again = [await at.client.post(link(SIGNAL)) for _ in range(2)]
        other = await at.client.post(link(SIGNAL, "another-link-0001"))

        assert [one.status_code for one in (first, again, other)] == [202, 410, 202]
        assert again.json()["event_id"] == first.json()["event_id"] != other.json()["event_id"]
        assert again.json()["type"] == "urn:counterpoint:problem:link-used"
        assert len(at.published) == 2


async def test_looking_at_a_link_changes_nothing() -> None:
    async with door() as at:
        path = link(APPROVAL)
        pages = [await at.client.get(path) for _ in range(2)]

        assert [one.status_code for one in pages] == [200, 200]
        assert "Is &lt;Ada&gt; who she says?" in pages[0].text
        assert (pages[0].headers["cache-control"], at.published) == ("no-store", [])
        assert set(re.findall(r'name="decision" value="(\w+)"', pages[0].text)) == {"approve", "reject"}
        assert {"form.reason", "form.score"} <= set(re.findall(r'name="([^"]+)"', pages[0].text))


async def test_a_person_approves_in_a_browser() -> None:
    async with door() as at:
        sent = {"decision": "approve", "form.reason": "seen", "form.score": "9"}
        page = await at.client.post(link(APPROVAL), data=sent, headers=BROWSER)

        assert (page.status_code, "Thank you" in page.text) == (202, True)
        assert payload(at.published[0]) == {
            "process_id": "onboarding:a17",
            "step": "review",
            "decision": "approve",
            "form": {"case": 7, "reason": "seen", "score": 9},
            "by": "ann@example.org",
            "roles": ["reviewer"],
        }


async def test_a_person_rejects_without_filling_in_anything_and_cannot_change_her_mind() -> None:
    async with door() as at:
        path = link(APPROVAL)
        rejected = await at.client.post(path, json={"decision": "reject"})
        approved = await at.client.post(path, json={"decision": "approve", "form": {"reason": "r", "score": 1}})

        assert (rejected.status_code, approved.status_code) == (202, 410)
        assert [payload(record)["decision"] for record in at.published] == ["reject"]
        assert "form" not in payload(at.published[0])


@pytest.mark.parametrize(
    ("said", "pointers"),
    [
        ({}, {"#/decision"}),
        ({"decision": "maybe"}, {"#/decision"}),
        ({"decision": "approve"}, {"#/form/reason", "#/form/score"}),
        ({"decision": "approve", "form": {"reason": "r", "score": True}}, {"#/form/score"}),
        ({"decision": "approve", "form": {"reason": "r", "score": 1, "case": 8}}, {"#/form/case"}),
        ({"decision": "approve", "form": []}, {"#/form"}),
    ],
)
async def test_a_link_allows_what_it_says_and_nothing_else(said: dict[str, Any], pointers: set[str]) -> None:
    async with door() as at:
        path = link(APPROVAL)
        answer = await at.client.post(path, json=said)

        assert (answer.status_code, at.published) == (422, [])
        assert {error["pointer"] for error in answer.json()["errors"]} == pointers
        # What was refused has not used the link up.
        assert (await at.client.post(path, json={"decision": "reject"})).status_code == 202


async def test_a_link_for_one_decision_allows_no_other() -> None:
    only = Invitation("onboarding:a17", Approval("review", "ann", decisions=("reject",)), NOW_S + 60)
    async with door() as at:
        assert (await at.client.post(link(only), json={"decision": "approve"})).status_code == 422
        assert (await at.client.post(link(only))).status_code == 202
        assert payload(at.published[0])["decision"] == "reject"


async def test_a_link_expires_and_its_use_is_remembered_for_longer() -> None:
    async with door() as at:
        used, unused = link(SIGNAL), link(SIGNAL, "another-link-0001")
        assert (await at.client.post(used)).status_code == 202
        at.clock_ms[0] = NOW_MS + 3_599_000
        assert (await at.client.post(used)).json()["type"] == "urn:counterpoint:problem:link-used"
        at.clock_ms[0] += 1_000

        late = await at.client.post(unused)
        assert (late.status_code, late.json()["type"]) == (410, "urn:counterpoint:problem:link-expired")
        assert (await at.client.get(unused)).status_code == 410
        assert len(at.published) == 1


async def test_after_a_crash_before_the_answer_the_same_choice_is_the_same_input() -> None:
    async with door() as at:
        path = link(SIGNAL)
        await at.client.post(path)
        (name, (until, entry)) = next(iter(at.keys._entries.items()))
        at.keys._entries[name] = (until, entry._replace(answered=False))
        again = await at.client.post(path)

        assert again.status_code == 202
        assert len(at.published) == 2
        assert len({envelope.id for envelope in at.envelopes()}) == 1


@given(place=st.integers(0), bit=st.integers(0, 7))
def test_no_bit_of_a_link_may_change(place: int, bit: int) -> None:
    token = mint(LINK_SECRET, APPROVAL, NONCE)
    body, signature = token.split(".")
    data = bytearray(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    data[place % len(data)] ^= 1 << bit
    forged = f"{base64.urlsafe_b64encode(bytes(data)).rstrip(b'=').decode()}.{signature}"
    with pytest.raises(LinkRefused):
        open_link([LINK_SECRET], forged, NOW_S)


@given(st.text(max_size=60))
def test_any_text_is_no_link(text: str) -> None:
    with pytest.raises(LinkRefused):
        open_link([LINK_SECRET], text, NOW_S)


@pytest.mark.parametrize("invitation", [SIGNAL, APPROVAL])
def test_a_link_opens_as_what_was_minted_under_any_of_the_secrets(invitation: Invitation) -> None:
    token = mint(LINK_SECRET, invitation, NONCE)
    assert open_link(["a new secret, in front of the old", LINK_SECRET], token, NOW_S).invitation == invitation
    with pytest.raises(LinkRefused):
        open_link(["another secret that signed nothing at all"], token, NOW_S)


def test_what_is_minted_is_checked() -> None:
    with pytest.raises(ValueError, match="needs 32"):
        mint("short", SIGNAL, NONCE)
    with pytest.raises(ValueError, match="no process id"):
        mint(LINK_SECRET, Invitation("restock", Signal("x"), NOW_S), NONCE)
    with pytest.raises(ValueError, match="characters"):
        mint(LINK_SECRET, Invitation("restock:e7", Signal("x", {"a": "b" * 9_000}), NOW_S), NONCE)
    with pytest.raises(ValueError):
        mint(LINK_SECRET, SIGNAL, "short")


async def test_without_a_secret_there_are_no_links() -> None:
    async with door(change=lambda gateway: replace(gateway, link_secrets=())) as at:
        assert (await at.client.get(link(SIGNAL))).status_code == 404


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (Asked("a:b", None, None, None, (), (), ""), "either --signal or --approval"),
        (Asked("a:b", "s", "a", None, (), (), ""), "either --signal or --approval"),
        (Asked("a:b", None, "a", None, (), (), ""), "say --by"),
        (Asked("a:b", "s", None, None, ("r",), (), ""), "belong to --approval"),
        (Asked("a:b", None, "a", "ann", (), ("x=date",), ""), "not NAME=KIND"),
    ],
)
def test_words_of_the_command_line_that_make_no_link(asked: Asked, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        invitation_of(asked, b"{}", NOW_S)


def test_an_approval_from_the_command_line() -> None:
    made = invitation_of(Asked("a:b", None, "review", "ann", ("boss",), ("x=integer",), "t"), b'{"c": 1}', 9)
    assert made == Invitation("a:b", Approval("review", "ann", ("boss",), form={"c": 1}, asks={"x": "integer"}), 9, "t")
    assert ApprovalGiven.type == "orchestrator.approval.v1"
