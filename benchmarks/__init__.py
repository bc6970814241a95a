"""Measurements, as ratios within one run where that is possible. ``python -m benchmarks`` runs all of them."""
