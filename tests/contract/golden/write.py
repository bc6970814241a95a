"""Write the golden file of the present codec version: ``python -m tests.contract.golden.write``.

Run it once for a new version (or when a record kind is added) and commit the result; never to make a failing test
pass: logs that were written with the old bytes still exist.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import msgspec

from stream.contract import codec
from stream.contract.notices import Hours, Notice
from stream.contract.records import (
    AnyRecord,
    Batch,
    BinReport,
    Control,
    Counts,
    Coverage,
    Document,
    Drift,
    End,
    EntityReport,
    Evidence,
    Flip,
    Heard,
    HotItem,
    HotList,
    Mention,
    ModelBin,
    Observation,
    Picture,
    Post,
    Reach,
    Reject,
    Seen,
    Sighting,
    TrendPoint,
    WindowScore,
    replace,
)

FOLDER: Final = Path(__file__).parent

_POST: Final = Post(
    id="4645748019299849", source="demo", author="u:0011", created_ms=1623116104000, observed_ms=1623116105000,
    text="华强北😀", root_id="1", mid="4645748019299849", bid="Kjc77D1jz", author_known=False,
    pictures=(Picture(id="p", sha256="ab", width=3, height=4, jpeg=b"\xff\xd8", url="https://x/p.jpg", problem="?"),),
    counts=Counts(reposts=1, comments=2, likes=12000, approximate=True), repost_of="1", edit_version=2, region="江苏",
    text_cut_from=30000,
)  # fmt: skip
_MENTION: Final = Mention(
    post_id="1", root_id="1", author="u:0011", created_ms=1, observed_ms=2, type="LOC", surface="华强北",
    raw_key="华强北", entity="LOC:华强北", start=0, end=3, confidence=0.5, simhash=2**63, model_version="m",
    alias_version=3, author_known=False, provenance="image", picture_id="p", via_repost=True,
)  # fmt: skip
_WINDOW: Final = WindowScore(
    window_ms=3600000, observed=9, expected=1.5, dispersion=0.25, score=4200, lift=6.0, lift_low=3.5, mentions=10,
    authors=8, effective_authors=7.5, reposts=1, image_only=2, engagement=99, baseline_windows=168,
)  # fmt: skip
_WINDOW_OF_COPIES: Final = replace(
    _WINDOW, origin="coordinated", loudness=9000, copied=8, passed_on=1, busiest=2
)
_WINDOW_OF_RULES: Final = replace(
    _WINDOW, weighted=9.5, posts=70, texts=8, sources=2, before=3, silence=10, usual=1.75
)
_EVIDENCE: Final = Evidence(
    post_id="1", author="u:0011", created_ms=1, source="demo", surface="华强北", excerpt="…华强北…", weight=65536,
    via_repost=True, image_only=True,
)  # fmt: skip
_REPORT: Final = EntityReport(
    entity="LOC:华强北", type="LOC", surface="华强北", first_seen_ms=1, is_new=True, authors_known=False,
    windows=(_WINDOW,), evidence=(_EVIDENCE,),
)  # fmt: skip
_SIGHTING: Final = Sighting(
    offset=5, entity="LOC:华强北", type="LOC", surface="华强北", post_id="1", root_id="1", author="u:0011",
    author_known=True, created_ms=1, source="demo", simhash=7, confidence=0.5, engagement=3, weight=65536,
    via_repost=False, image_only=True, excerpt="…",
)  # fmt: skip
_REACH: Final = Reach(source="demo", through_ms=1623116104000, state="idle")
_CONTROL: Final = Control(topic="rules", version=2, payload="{}")
_COVERAGE: Final = Coverage(
    source="weibo:user:1", observed_ms=2, outcome="throttled", from_ms=1, through_ms=2, posts=10, fresh=3,
    endpoint="container", detail="HTTP 418",
)  # fmt: skip

RECORDS: Final[dict[str, AnyRecord]] = {
    "post": _POST,
    "post_least": Post(id="1", source="s", author="a", created_ms=1, observed_ms=1, text="", root_id="1"),
    "mention": _MENTION,
    "document": Document(post=_POST, mentions=(_MENTION,), model_version="m", model_epoch=4),
    "batch": Batch(
        generation="g", origin=0, first=5, last=6, posts=(Seen(5, 1, "demo", "1"),), sightings=(_SIGHTING,),
        heard=(Heard(5, _REACH), Heard(6, _CONTROL)),
    ),
    "batch_of_several": Batch(
        generation="g", origin=0, first=5, last=5, sightings=(msgspec.structs.replace(_SIGHTING, together=(1, 2**63)),)
    ),
    "trend_point": TrendPoint(
        entity="LOC:华强北", type="LOC", bin_ms=0, width_ms=60000, mentions=3, authors=2, weighted=1.5, engagement=9,
        image_only=1, late=1, score=4200, window_ms=3600000, observed=9, expected=1.5,
    ),
    "bin_report": BinReport(
        partition=0, bin_ms=0, width_ms=60000, watermark_ms=60000, total_posts=7, tests=3, entities=(_REPORT,),
        controls=(_CONTROL,),
    ),
    "flip": Flip(
        id="i-1", incident_id="i", sequence=1, rule_id="r", rule_version=2, rule_kind="burst", state="firing",
        severity="high", entity="LOC:华强北", type="LOC", surface="华强北", at_ms=1, first_ms=1, window=_WINDOW,
        reason="why", first_seen_ms=1, authors_known=False, tests=3, threshold=4.5, total_posts=7,
        evidence=(_EVIDENCE,), labels={"event": "e"},
    ),
    "flip_held": Flip(
        id="i-1", incident_id="i", sequence=1, rule_id="r", rule_version=2, rule_kind="burst", state="firing",
        severity="high", entity="LOC:华强北", type="LOC", surface="华强北", at_ms=1, first_ms=1, window=None,
        reason="why", held="silence s", event="e", members=("LOC:华强北", "PER:张三"), covered=950,
        notice=Notice(
            receivers=("hook",), group_by=("type",), group_wait_s=30.0, group_interval_s=60.0,
            repeat_interval_s=14400.0, mute=(Hours(from_minute=1320, to_minute=420, days=(0, 6)),),
            timezone="Asia/Tokyo", annotations={"title": "t"},
        ),
    ),
    "reach": _REACH,
    "end": End(source="demo", through_ms=1),
    "reach_of_a_session": Reach(source="demo", through_ms=1, session=7),
    "end_of_a_session": End(source="demo", through_ms=1, session=7),
    "control": _CONTROL,
    "observation": Observation(
        source="weibo:user:1", post_id="1", observed_ms=2, counts=_POST.counts, edit_version=1, text="t", gone=True
    ),
    "hot_list": HotList(source="weibo:hot", observed_ms=2, items=(HotItem(1, "华强北", 99, "新"),)),
    "coverage": _COVERAGE,
    "bin_report_of_views": BinReport(
        partition=0, bin_ms=0, width_ms=60000, watermark_ms=60000, total_posts=7, tests=3, volume={300000: 1200},
        late=2, counted=9, entities=(replace(_REPORT, windows=(_WINDOW_OF_RULES,), view="ab", posts=b"\x01" * 8),),
    ),
    "bin_report_with_coverage": BinReport(
        partition=0, bin_ms=0, width_ms=60000, watermark_ms=60000, total_posts=7, tests=3, covered={300000: 500}
    ),
    "bin_report_with_origin": BinReport(
        partition=0, bin_ms=0, width_ms=60000, watermark_ms=60000, total_posts=7, tests=3,
        entities=(replace(_REPORT, windows=(_WINDOW_OF_COPIES,)),),
    ),
    "bin_report_with_model": BinReport(
        partition=0, bin_ms=0, width_ms=60000, watermark_ms=60000, total_posts=7, tests=3,
        model=ModelBin(model_version="m", posts=7, bare=2, confidences={"LOC": (1, 2)}),
    ),
    "bin_report_with_spreads": BinReport(
        partition=0, bin_ms=0, width_ms=60000, watermark_ms=60000, total_posts=7, tests=3,
        entities=(replace(_REPORT, windows=(replace(_WINDOW, excess=1.5, weight=9.5, unsure=0.01),)),),
        spreads={"LOC/3600000/1": (-20, 1500)},
    ),
    "batch_with_model": Batch(generation="g", origin=1, first=5, last=6, model_version="m", bare=(5, 6)),
    "batch_of_an_order": Batch(generation="g", origin=1, first=5, last=6, model_version="m", model_epoch=3),
    "drift": Drift(
        source="m", type="LOC", observed_ms=1, state="warn", psi=120, psi_noise=30, psi_first=300, mean=900,
        mean_before=950, changed_ms=1, recent=(1, 2), reference=(3, 4), first=(5, 6),
    ),
    "batch_with_coverage": Batch(generation="g", origin=1, first=5, last=6, heard=(Heard(5, _COVERAGE),)),
    "reject": Reject(source="demo", reason="bad_json", detail="d", raw=b"\xff\x00", place="line 1", observed_ms=1),
}  # fmt: skip
"""Records of every kind, each field off its default in one of them; fields that came later in records of their own."""


def main() -> None:
    """Write ``v<version>.json``: name → hex of the wire form."""
    golden = {name: codec.encode(record).hex() for name, record in RECORDS.items()}
    (FOLDER / f"v{codec.VERSION}.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
