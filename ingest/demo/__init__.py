"""The built-in corpus: CMNER's dev posts and six example posts with their pictures (MIT, see LICENSE-CMNER)."""
