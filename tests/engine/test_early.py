"""What comes before there is a process: kept for a day if the saga waits for it, else ignored."""

from datetime import timedelta

import msgspec

from contracts.envelope import decode_headers
from contracts.ids import partition_of
from contracts.process import OperatorAction
from contracts.topics import ORCHESTRATOR_DEAD_LETTERS, SHARDS
from orchestrator.engine.arrivals import EARLY_MAX
from orchestrator.engine.decide import decide
from orchestrator.engine.inputs import Input
from orchestrator.engine.process import Process, decode_process, encode_process
from orchestrator.language import command, parallel, sequence
from orchestrator.runtime.checkpoint import indexes_of, process_write
from orchestrator.testkit import Story
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.lab import Begun, Done, lab_saga, step
from tests.engine.test_waits import BEGUN, ELSE, GOODS, Released, arrival, book_in, release

SAGA = lab_saga(sequence(step("a"), arrival(), release(), command(book_in, irreversible=True)))
DAY = timedelta(hours=24)


def test_what_is_waited_for_is_kept_until_the_start_and_delivered() -> None:
    story = Story(SAGA).happens(GOODS).keeps("lab.arrived.v1")
    story.signals(Released(by="ann")).keeps("lab.arrived.v1", "signal/released")
    assert story.process.phase == "early"
    story.passes(timedelta(hours=1)).starts(BEGUN).announces("started").sends("a")
    assert set(story.process.timers) == {"a/silence"}
    story.succeeds("a").sends("book_in").succeeds("book_in").ends("completed")
    assert '"saw":"7"' in story.command("book_in").record.value.decode()


def test_they_are_delivered_in_the_order_in_which_they_came() -> None:
    both = lab_saga(sequence(arrival("w1"), arrival("w2")))
    story = Story(both).happens(GOODS, id="1").keeps("lab.arrived.v1").happens(ELSE, id="2")
    story.keeps("lab.arrived.v1", "lab.arrived.v1").starts(BEGUN).ends("completed")
    outcomes = [story.process.steps[name].outcome for name in ("w1", "w2")]
    assert [outcome and outcome.data for outcome in outcomes] == [GOODS.to_json(), ELSE.to_json()]


def test_a_repeat_is_recognised_before_and_after_the_start() -> None:
    story = Story(SAGA).happens(GOODS).keeps("lab.arrived.v1").repeats().ignored("duplicate")
    story.starts(BEGUN).sends("a").happens(GOODS).ignored("duplicate").succeeds("a").goes_on()


def test_so_many_are_kept_for_one_process_and_no_more() -> None:
    story = Story(SAGA)
    for number in range(EARLY_MAX):
        story.happens(GOODS, id=f"e{number}")
    story.happens(GOODS, id="one-more").ignored("early-full").alerts("early-full")
    assert len(story.process.early) == EARLY_MAX


def test_after_a_day_each_goes_to_dead_letters_as_it_came() -> None:
    story = Story(SAGA).happens(GOODS, id="e1", source="/dock").keeps("lab.arrived.v1")
    story.without_clock(timedelta(hours=10)).happens(ELSE, id="e2").keeps("lab.arrived.v1", "lab.arrived.v1")
    story.without_clock(timedelta(hours=13)).timer_fires("early").ignored("premature")
    story.passes(timedelta(hours=1))
    (letter,) = story.last.decision.effects
    headers = dict(letter.headers)
    assert (letter.topic, letter.key, letter.value) == (ORCHESTRATOR_DEAD_LETTERS, b"j1", GOODS.to_json())
    assert decode_headers(letter.headers).identity == ("/dock", "e1")
    assert (headers["dl_reason"], headers["dl_topic"]) == (b"never-started", b"orchestrator.inbox")
    assert (headers["dl_partition"], headers["dl_offset"]) == (b"%d" % partition_of("lab:j1", SHARDS), b"0")
    assert [early.data for early in story.process.early] == [ELSE.to_json()]
    story.gives_up(1).passes(timedelta(hours=10)).gives_up(1)
    assert story.process.early == () and story.process.timers == {}


def test_a_process_may_still_start_after_its_early_messages_were_given_up() -> None:
    story = Story(SAGA).happens(GOODS).waits_until("early").gives_up(1)
    story.timer_fires("early").ignored("stale").starts(BEGUN).announces("started").sends("a").succeeds("a").goes_on()
    story.happens(GOODS).signals(Released(by="x")).sends("book_in")


def test_what_the_saga_does_not_wait_for_is_not_kept() -> None:
    inbox, book = Inbox("lab:j1", "lab", 1), Story(SAGA).book
    unasked = decide(book, None, inbox.observed(Done(job_id="j1", step="a"), id="e", source="/x"))
    assert (unasked.process, unasked.reason) == (None, "no-process")
    other = GOODS.model_copy(update={"job_id": "j2"})
    assert decide(book, None, inbox.observed(other, id="e", source="/x")).reason == "no-process"
    item = inbox.observed(GOODS, id="e", source="/x")
    broken = Input(item.offset, item.at_ms, item.process_id, item.envelope, b"{}", item.saga, item.version)
    assert decide(book, None, broken).reason == "invalid-payload"


def test_outcomes_and_operators_are_ignored_whatever_is_kept() -> None:
    story = Story(SAGA).happens(GOODS)
    story.answers("lab:j1/a/1", Done(job_id="j1", step="a")).ignored("no-process").alerts("success-without-process")
    inbox, before = story._log, story.process
    action = OperatorAction(process_id="lab:j1", action="retry", revision=0, operator="ann")
    decision = decide(story.book, before, inbox.operator(action))
    assert decision.reason == "no-process" and decision.process is not None and decision.process.early == before.early


def test_a_wait_that_begins_the_saga_is_settled_at_the_start() -> None:
    story = Story(lab_saga(parallel(arrival(), step("b")))).happens(GOODS).starts(BEGUN).sends("b")
    story.succeeds("b").ends("completed")


def test_another_payload_of_the_start_does_not_matter_to_what_is_kept() -> None:
    Story(SAGA).happens(GOODS).starts(Begun(job_id="j1", note="x")).sends("a")


def test_what_is_kept_is_in_no_index_until_it_starts() -> None:
    story = Story(SAGA).happens(GOODS)
    kept = story.process
    assert indexes_of(kept) == ()
    write = process_write(None, kept, encode_process(kept), ())
    assert [name for name, _ in write.timers_set] == ["early"] and write.indexes == ()
    story.starts(BEGUN).sends("a")
    after = process_write(kept, story.process, encode_process(story.process), ())
    assert (after.timers_unset, after.indexes, after.indexes_left) == (("early",), ("lab:running",), ())


def test_an_old_state_has_nothing_early() -> None:
    story = Story(SAGA).starts(BEGUN).sends("a")
    fields = msgspec.msgpack.decode(encode_process(story.process))
    assert "early" not in fields and "seen" not in fields
    old: Process = decode_process(msgspec.msgpack.encode(fields))
    assert (old.early, old.seen) == ((), ())
