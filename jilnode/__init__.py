"""jilnode: a reference node for a sovereign, multi-jurisdiction settlement network.

kernel/      rows, commands, the group-commit writer, the journal as a Merkle log; knows no HTTP, no broker, no module
stores/      SQLite, PostgreSQL, memory: one port, one conformance suite
events/      the wire format, relay, replicator, and the buses (Kafka, peers over HTTP, memory)
http/        the application: routes from module declarations, authentication, problems, health, live events
simulation/  a fleet driven step by step from a seed
cli/         one file a command
module.py    the service-module contract        zone.py      the zone contract
node.py      the composition root               parts.py     what it is put together from, made as its settings say
settings.py  the only reader of the environment
limits.py    every bound
"""

__version__ = "0.1.0"
