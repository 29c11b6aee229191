"""A whole stack for end-to-end tests, without the payment service: a stranger stands in for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local.stack import Stack

SERVICES = ("inventory", "shipping")


@pytest.fixture(scope="session")
def stack_without_payment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("e2e"), services=SERVICES)
    stack.up()
    try:
        yield stack
    finally:
        stack.down()
