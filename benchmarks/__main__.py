"""Run every benchmark after another; each also runs alone, e.g. ``python -m benchmarks.pipeline``."""

from __future__ import annotations

from benchmarks import cluster, elastic, faust_path, pipeline, recovery, search, series, serving, tagger, trends, weibo

for part in (pipeline, tagger, trends, series, serving, search, weibo, faust_path, cluster, elastic, recovery):
    print(f"\n== {part.__name__.removeprefix('benchmarks.')}", flush=True)
    part.main()
