"""Reports for people: pages that need nothing else, the same as Markdown, and their plots."""
