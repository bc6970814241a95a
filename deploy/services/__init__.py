"""Real Kafka and Elasticsearch on this machine, without a container engine: for trying, for tests, not for production.

Both come from Maven Central by ``mvn``, with pinned digests, and run as an unprivileged user on free loopback ports.
"""
