"""Slack: an incoming webhook. It answers `ok` as text, and knows no idempotency keys: every request is a new post."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from deploy.local.sandbox.provider import Books, Call, Effect, Operation, Provider, Reply, RequestBody, refusal

BLOCKS_MAX = 50
TEXT_LENGTH_MAX = 40_000
UNKNOWN = "unknown"


class MessageBody(RequestBody):
    """`POST /slack/webhook`."""

    text: Annotated[str, StringConstraints(max_length=TEXT_LENGTH_MAX)] = ""
    blocks: tuple[dict[str, Any], ...] = Field(default=(), max_length=BLOCKS_MAX)


def post(books: Books, body: MessageBody, call: Call) -> Reply:
    """Post it. What it is about, the ledger reads in the first block's `block_id`: Slack itself knows no leads."""
    if not body.text and not body.blocks:
        return refusal(400, "no_text", "A message has text or blocks.", stored=False)
    reference = next((str(block["block_id"]) for block in body.blocks if block.get("block_id")), UNKNOWN)
    effect = Effect("alert", reference, {"text": body.text, "blocks": list(body.blocks)})
    return Reply(200, {}, effect=effect, text="ok")


SLACK = Provider(name="slack", operations=(Operation("/slack/webhook", MessageBody, post, keyed=False),))
