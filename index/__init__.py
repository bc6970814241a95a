"""Search: the query language, the stores, the HTTP API and the dashboard."""
