"""Delivery of alerts to the outside: claim a flip, send, record, retry."""
