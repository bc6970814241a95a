"""Experiments on taggers: figures with intervals, and what they are of."""
