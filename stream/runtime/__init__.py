"""Engines that drive the stages: embedded (one process, SQLite) and cluster (Faust, Kafka)."""
