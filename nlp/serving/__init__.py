"""Taggers for work: any model folder behind the port, chosen by family and by the language of a post."""
