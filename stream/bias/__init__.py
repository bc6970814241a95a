"""What makes counts of mentions misleading: popular posts, growing engagement, mistakes of the tagger. Pure."""
