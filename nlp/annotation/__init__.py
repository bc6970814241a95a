"""The annotation loop: which posts are worth labelling, foreign formats, how well people agree, what they decided.

Pure: files are read and written in ``nlp.annotation.files`` alone, and randomness is a seed.
"""
