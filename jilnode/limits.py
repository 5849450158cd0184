"""Every bound of the node, in one place, with the relations between them asserted at import."""

from typing import Final

KIBIBYTE: Final = 1024
MEBIBYTE: Final = 1024 * KIBIBYTE
GIBIBYTE: Final = 1024 * MEBIBYTE

# Entries (design 3, rule 2)
EVENT_BYTES_MAX: Final = 512 * KIBIBYTE
HEADER_BYTES_MAX: Final = 60 * KIBIBYTE
CAUSES_PER_ENTRY_MAX: Final = 128
RECORD_NESTING_MAX: Final = 64
"""How deep a record's objects and arrays may nest: whatever reads it, from however deep a stack, can."""
DOCUMENT_NESTING_MAX: Final = RECORD_NESTING_MAX - 5
"""What a record leaves for a row's document: ``{"sections":{"rows":{"data":[{"doc":`` are its own."""
SEARCHABLE_BYTES_MAX: Final = 512
INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)
ORDINAL_MAX: Final = 2**53 - 1
"""Of epochs, sequences and sizes: every reader of JSON takes it as it is, and what comes a page later has 64 bits."""

# The writer
WRITER_QUEUE_MAX: Final = 4096
WRITER_BATCH_MAX: Final = 1024
WRITER_BATCH_BYTES_MAX: Final = 16 * MEBIBYTE
"""Of this node's own entries in one commit, where the last one may end behind it; and of foreign ones."""
WRITER_CALLERS_BYTES_MAX: Final = WRITER_BATCH_BYTES_MAX // 4 * 3
"""Of them for callers. The rest is for deadlines and obligations, which nobody's load keeps back."""
WRITER_FOREIGN_ENTRIES_MAX: Final = 512
"""Foreign entries applied in one commit cycle: a bounded share, so that local callers are never starved."""
WRITER_DEADLINES_MAX: Final = 256
WRITER_REACTIONS_MAX: Final = 256
OBLIGATIONS_PER_SOURCE_MAX: Final = 10_000
"""Rows of one table and source, addressed to this node and not answered, in memory; more wait in the database."""
ALARMS_KEPT_MAX: Final = 1000
"""The newest; all of them are in the log."""
COMMAND_RERUNS_MAX: Final = 256
"""How often one command may be undone and run again because a row that it needs was not in memory."""
TICK_INTERVAL_S: Final = 30
TICK_ENTRIES_MAX: Final = 1000
OUTCOME_RETRY_S: Final = 2
"""When a caller asks again what became of a request at another node."""
CLOCK_STEP_S: Final = 2
"""Wall and monotonic clock may part by this much before the node stops writing."""

# Idempotency (design 3)
KEY_KEPT_DAYS: Final = 30
REFUSAL_KEPT_HOURS: Final = 24
REFUSALS_MAX: Final = 100_000

# Memory
CACHE_BYTES_DEFAULT: Final = 256 * MEBIBYTE
RESIDENT_BYTES_PER_SOURCE_MAX: Final = 256 * MEBIBYTE
"""What the rows of one other source may take in tables that stay in memory whole. A network's agreement: every node
takes so much of every other, more where its operator says so, never less."""
RESIDENT_BYTES_OWN_MAX: Final = RESIDENT_BYTES_PER_SOURCE_MAX // 8 * 7
"""From there on this node puts no more of its own there: what is left is for changes of the rows that are there."""

# Linked sets and batches (design 3, rule 2)
LINKED_MAX: Final = 100
BATCH_ITEMS_MAX: Final = 1000
BATCH_CHUNK_ITEMS: Final = 100

# Pages and bodies
PAGE_ITEMS_DEFAULT: Final = 50
PAGE_ITEMS_MAX: Final = 500
BODY_BYTES_MAX: Final = 1 * MEBIBYTE
HOT_BODY_BYTES_MAX: Final = 64 * KIBIBYTE
"""Of a write that is answered on its connection: such a body is taken before anybody knows whose it is."""
REQUEST_HEADER_BYTES_MAX: Final = 16 * KIBIBYTE
IDEMPOTENCY_KEY_CHARS_MAX: Final = 255
STREAM_CLIENTS_MAX: Final = 256
STREAM_SUBJECT_CLIENTS_MAX: Final = 64
"""Streams of one subject: nobody alone takes all of them."""
STREAM_QUEUE_MAX: Final = 1024
STREAM_READ_ENTRIES: Final = 50
"""Looked up at once for a stream that resumes: each of them that does so holds as many, and they may be large."""
STREAM_PIECE_BYTES: Final = 256 * KIBIBYTE
"""Of what waits, this much is made and sent to a client at once, and more when that is on its way."""
RECENT_ENTRIES_MAX: Final = 10_000
RECENT_BYTES_MAX: Final = 64 * MEBIBYTE
"""Of the newest entries, kept in memory for streams that resume."""
FEED_RING_FRAMES: Final = 4096
FEED_RING_BYTES: Final = 512 * KIBIBYTE
"""What of a channel's recent frames is kept, so that who comes back goes on from there."""
FEED_CHANNELS_MAX: Final = 512
"""Channels with subscribers, and those that had some a while ago."""
FEED_KEPT_S: Final = 60
"""A channel without subscribers is kept for this long."""
SOCKET_MESSAGE_BYTES_MAX: Final = 1 * KIBIBYTE
"""Of a message that comes in on a WebSocket: clients have nothing to say there."""
SOCKET_BYTES_PER_S: Final = 256
SOCKET_BYTES_AT_ONCE_MAX: Final = 4 * KIBIBYTE
"""What a client may send on a WebSocket: pongs, pings, an end. A frame may have six bytes, and costs 20 us to read."""

# Following other nodes
PEER_RATE: Final = 200
PEER_BURST: Final = 400
"""Requests a second, and at once, that nodes behind one address may make of each other."""
REPLICATOR_QUEUE_MAX: Final = 4096
"""Entries of one source waiting for their seal: a commit's worth; more than that without a seal nobody has written."""
FEED_BYTES_MAX: Final = 48 * MEBIBYTE
"""Of those entries, and of others under their numbers."""
FEED_ALTERNATIVES_MAX: Final = 4
"""Other entries that are kept under one number: anybody may send them."""
FEED_VARIANTS_MAX: Final = 256
FEED_REFUSED_MAX: Final = 65_536
"""Entries that what a source signed has refused are known again, so that others have their turn."""
FEED_SEALS_MAX: Final = REPLICATOR_QUEUE_MAX
"""Each covers an entry."""
PENDING_PER_SOURCE_MAX: Final = 100_000
PENDING_BYTES_PER_SOURCE_MAX: Final = 64 * MEBIBYTE
"""Raw records kept of a suspended source; after a release, what is more is read again from the bus."""
PEER_PAGE_ENTRIES: Final = 500
PEER_PAGE_BYTES: Final = WRITER_BATCH_BYTES_MAX
"""More only where one commit alone has more."""
PEER_READ_ENTRIES: Final = 50
"""Looked up at once for a page."""
PEER_RESPONSE_BYTES_MAX: Final = 64 * MEBIBYTE
"""What is read of a peer's answer. An entry is a JSON string there, and may take twice its bytes."""
DEAD_LETTERS_MAX: Final = 1000
DEAD_LETTERS_BYTES_MAX: Final = 16 * MEBIBYTE
"""Of those that wait to be sent; what is more is lost, and said in the log."""
RELAY_BATCH_ENTRIES: Final = 500
RELAY_BATCH_BYTES: Final = 8 * MEBIBYTE

# Shutdown stages
DRAIN_TIMEOUT_S: Final = 10
RELAY_FLUSH_TIMEOUT_S: Final = 5
CLOSE_TIMEOUT_S: Final = 5

assert HEADER_BYTES_MAX < EVENT_BYTES_MAX < WRITER_BATCH_BYTES_MAX
assert EVENT_BYTES_MAX < WRITER_BATCH_BYTES_MAX - WRITER_CALLERS_BYTES_MAX
assert WRITER_BATCH_MAX <= WRITER_QUEUE_MAX
assert WRITER_BATCH_MAX + WRITER_DEADLINES_MAX + WRITER_REACTIONS_MAX + 1 <= REPLICATOR_QUEUE_MAX
assert 2 * (WRITER_BATCH_BYTES_MAX + EVENT_BYTES_MAX) < FEED_BYTES_MAX
assert 2 * (PEER_PAGE_BYTES + 2 * (EVENT_BYTES_MAX + HEADER_BYTES_MAX)) < PEER_RESPONSE_BYTES_MAX
assert EVENT_BYTES_MAX < RESIDENT_BYTES_OWN_MAX < RESIDENT_BYTES_PER_SOURCE_MAX
assert HOT_BODY_BYTES_MAX <= BODY_BYTES_MAX
assert BATCH_CHUNK_ITEMS <= BATCH_ITEMS_MAX
assert LINKED_MAX <= BATCH_CHUNK_ITEMS
assert PAGE_ITEMS_DEFAULT <= PAGE_ITEMS_MAX
assert STREAM_QUEUE_MAX <= FEED_RING_FRAMES
assert EVENT_BYTES_MAX + HEADER_BYTES_MAX <= RECENT_BYTES_MAX
assert 2 * SOCKET_MESSAGE_BYTES_MAX <= SOCKET_BYTES_AT_ONCE_MAX
assert STREAM_SUBJECT_CLIENTS_MAX < STREAM_CLIENTS_MAX < FEED_CHANNELS_MAX
