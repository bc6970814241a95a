"""Weibo: what its servers send, read into posts."""
