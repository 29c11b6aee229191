"""How values are written into Redis smaller than they are: deflated against words that are known beforehand.

A process that waits for a year is mostly names of fields. A dictionary of the engine's own names, and of this
repository's contracts, does what deflate alone cannot with a few hundred bytes: a quarter of an order's size remains,
a third where the contracts are strange to it (docs/decisions/0064-packing.md). The first
byte says what a value is; a msgpack map, which older builds have stored as it is, never begins with one of ours.
"""

from __future__ import annotations

import zlib

_PLAIN, _WORDS_1 = b"\x00", b"\x01"
"""As it is; deflated against WORDS_1. A better dictionary gets the next number, and this one stays: values in
somebody's Redis need it."""
SIZE_MIN = 128
"""Less is not worth the time."""
UNPACKED_MAX = 256 * 1024 * 1024
"""Bytes; more is no value of ours."""
_LEVEL, _WINDOW_BITS, _MEMORY_LEVEL = 1, -12, 5
"""Small, so that a prepared compressor is copied fast: 4 us for a history entry, 7 for a state of 1.5 KB."""

WORDS_1 = (
    b"backoff blocked skipped perhaps failed silent refused unknown none undoing undone undos numbers cove"
    b"rs refusal detail stuck cause ended past_pivot deadline_passed early seen idle emitted waiting await"
    b"ing 00- -01 traceparent ce_causationid ce_processid ce_deadline ce_try ce_undoes ce_idempotencykey c"
    b"e_specversion 1.0 ce_source /counterpoint/orchestrator ce_time ce_type ce_id content-type applicatio"
    b"n/json orchestrator.dead-letters orchestrator.timer-fired.v1 orchestrator.signal.v1 orchestrator.app"
    b'roval.v1 orchestrator.operator-action.v1 orchestrator.cancel.v1 {"process_id":" ","timer_id":" /sile'
    b'nce","due_ms":17 "code":" ","message":" ","effect":"unknown","retryable":true} counterpoint.command-'
    b"failed.v1 orchestrator.process-compensating.v1 orchestrator.process-stuck.v1 orchestrator.process-co"
    b"mpleted.v1 orchestrator.process-cancelled.v1"
    b' "code":"insufficient_funds" "missing":[{"sku":"","wanted":1,"available":0}] orders.fulfilled.v1 ord'
    b"ers.cancelled.v1 customer_email inventory.unavailable.v1 inventory.released.v1 inventory.release.v1 "
    b"payment.declined.v1 payment.refunded.v1 payment.refund.v1 shipping.address-rejected.v1 shipping.void"
    b'-label.v1 shipping.label-voided.v1 shipping.dispatched.v1 shipping.dispatch.v1 ,"dispatched_at":"202'
    b'6- "label_id":"","carrier":"","tracking_number":" shipping.label-created.v1 "payment_id":"","amount_'
    b'cents":1,"currency":"USD"} payment.captured.v1 "reservation_id":"","lines":[{"sku":"","quantity":1,"'
    b'warehouse":""},{"sku":" inventory.reserved.v1 shipping.commands shipping.create-label.v1 /create_lab'
    b"el/1 payment.commands payment.charge.v1 /charge/1 inventory.commands inventory.reserve.v1 /reserve/1"
    b' {"order_id":"","lines":[{"sku":"","quantity":1},{"sku":" orders.placed.v1 {"order_id":"","customer_'
    b'id":"","lines":[{"sku":"","quantity":1,"unit_price_cents":1},{"sku":""}],"total_cents":1,"currency":'
    b'"USD","ship_to":{"name":"","street":"","city":"","postal_code":"","country":"US"},"payment_method":"'
    b"\x8a\xa6offset\x01\xa5at_ms\xcf\x00\x00\x01\x9a\xb6\x97\xe8d\xa2id\xa0\xa6source\xae/counterpoint/\xa4type"
    b'\xa3.v1\xa4data\xc4\x08{"_id":"\xa6result\xa7applied\xa5phase\xa7running\xa8revision\x02\xaccausation_id\xaas'
    b":1/step/1\x8b\xa6offset\x00\xa5at_ms\xcf\x00\x00\x01\x9a\xb6\x97\xe8\x00\xa2id\xa0\xa6source\xae/counterpoint"
    b'/\xa4type\xa3.v1\xa4data\xc4\x08{"_id":"\xa6result\xa7applied\xa5phase\xa7running\xa8revision\x01\xa5notes'
    b"\x91\xd9&s:1 starts, version 1 of s\xa7effects\x92\x84\xa5topic\xa9.commands\xa2id\xa2/1\xa4type\xa3.v1\xa4da"
    b'ta\xc4\x08{"_id":"\x84\xa5topic\xb3orchestrator.events\xa2id\xa2/1\xa4type\xbforchestrator.process-started.v1'
    b'\xa4data\xc4e{"process_id":"s:1","saga":"s","version":1,"phase":"running","at":"2025-11-24T16:00:00Z"}\xde'
    b"\x00\x0c\xa2id\xa0\xa4saga\xa0\xa7version\x01\xa5start\x86\xa6source\xa1/\xa2id\xa0\xa4type\xa3.v1\xa4data"
    b'\xc4\x08{"_id":"\xabfingerprint\xd9 00000000000000000000000000000000\xabtraceparent\xd9700-000000000000000000'
    b"00000000000000-0000000000000000-01\xa5phase\xa7running\xadstarted_at_ms\xcf\x00\x00\x01\x9a\xb6\x97\xe8\x00"
    b"\xadupdated_at_ms\xcf\x00\x00\x01\x9a\xb6\x97\xe8f\xa8revision\x04\xa5steps\x81\xa1a\x83\xa6status\xa9succeed"
    b"ed\xa5tries\x91\x83\xa1n\x01\xa1s\xa9succeeded\xa1a\xcf\x00\x00\x01\x9a\xb6\x97\xe8\x00\xa7outcome\x83\xa1t"
    b'\xa3.v1\xa1d\xc4\x08{"_id":"\xa1n\x01\xa5nodes\x83\xa2#0\x82\xa1s\xa7running\xa1c\x01\xa2#1\x81\xa1s\xa4done'
    b"\xa6b\x81\xa1s\xa7running\xa6timers\x81\xabb/wake\xcf\x00\x00\x03\xbb,\xc3\xd8\x00\xaehistory_length\x04"
)
"""The commonest last, where deflate finds them nearest. Never to be changed: see tests/runtime/test_packing.py."""

_prepared = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, WORDS_1)


class PackedWrong(ValueError):
    """A stored value cannot be read: it was written by a newer build, or damaged."""


def pack(value: bytes) -> bytes:
    """`value` in fewer bytes if that is possible."""
    if len(value) >= SIZE_MIN:
        compressor = _prepared.copy()
        packed = compressor.compress(value) + compressor.flush()
        if len(packed) < len(value):
            return _WORDS_1 + packed
    return plain(value)


def plain(value: bytes) -> bytes:
    """`value` as it is, told apart from a packed one only where it could be taken for one."""
    return _PLAIN + value if value[:1] in (_PLAIN, _WORDS_1) else value


def unpack(stored: bytes) -> bytes:
    """What `pack` or `plain` was given. Raises PackedWrong."""
    mark = stored[:1]
    if mark == _PLAIN:
        return stored[1:]
    if mark != _WORDS_1:
        return stored
    reader = zlib.decompressobj(_WINDOW_BITS, WORDS_1)
    try:
        value = reader.decompress(stored[1:], UNPACKED_MAX)
    except zlib.error as error:
        raise PackedWrong(f"a value of {len(stored)} bytes cannot be unpacked: {error}") from error
    if not reader.eof:
        raise PackedWrong(f"a value of {len(stored)} bytes ends in its middle, or is too long")
    return value
