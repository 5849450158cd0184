"""What tests stand on: real PostgreSQL, Kafka and Valkey on loopback, and waiting without sleeping."""
