"""Run every benchmark after another; each also runs alone, e.g. ``python -m benchmarks.pipeline``."""

from __future__ import annotations

from benchmarks import cluster, faust_path, pipeline, search, tagger

for part in (pipeline, tagger, search, faust_path, cluster):
    print(f"\n== {part.__name__.removeprefix('benchmarks.')}", flush=True)
    part.main()
