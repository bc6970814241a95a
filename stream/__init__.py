"""The stream: records, pure stages, the runtimes that drive them, and delivery of alerts."""
