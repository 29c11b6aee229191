"""Every damage that makes a shard refuse, and its repair: what is kept and lost is said, nothing is done twice, and the
owner carries it out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.ids import partition_of
from contracts.record import OutgoingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.cli.shards_real import ShardKeeping
from orchestrator.engine.book import SagaBook
from orchestrator.engine.process import decode_process
from orchestrator.language import Saga, command, emit, parallel, sequence
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.log import Place
from orchestrator.runtime.recovery import UNREPAIRABLE, Plan, plan_repair
from orchestrator.runtime.rules import rules_of
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.lab import CATALOG, Announced, Done, JobStarted, Step, Undo
from tests.runtime.test_snapshots import contents
from tests.runtime.world_snapshots import SnapshotEngine, SnapshotWorld
