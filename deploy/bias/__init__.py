"""The bias report: from an index to values, and from values to one file of HTML."""
