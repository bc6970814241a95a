"""Small made-up training sets, and settings with which a small model learns them in seconds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

PEOPLE = ("张三", "李四", "王小明", "赵云")
PLACES = ("上海", "北京", "呼和浩特", "广州")
TEXTS = ("{p}今天去了{l}。", "在{l}遇到了{p}！", "{l}的天气真好", "听说{p}回来了", "今天没有新闻")


def write_set(path: Path, posts: int, seed: int, header: str = "WID") -> Path:
    """A file in CMNER's format whose entities can be learned from the text."""
    chance = random.Random(seed)
    blocks = []
    for number in range(posts):
        rows = ""
        for part in chance.choice(TEXTS).replace("{", "|{").replace("}", "}|").split("|"):
            word = part.format(p=chance.choice(PEOPLE), l=chance.choice(PLACES))
            type_ = {"{p}": "PER", "{l}": "LOC"}.get(part)
            for place, char in enumerate(word):
                tag = f"{'I' if place else 'B'}-{type_}" if type_ else "O"
                rows += f"{char}\t{tag}\n"
        blocks.append(f"{header}:{'T' if seed == 1 else 'D'}{number:05}\n{rows}")
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def small_run(folder: Path, **changes: Any) -> dict[str, Any]:
    """The configuration of a BiLSTM on sets that are written to ``folder``."""
    train, dev = write_set(folder / "train.txt", 60, 1), write_set(folder / "dev.txt", 30, 2)
    return {
        "family": "bilstm",
        "threads": 1,
        "data": {"train": [{"path": str(train)}], "dev": [{"path": str(dev)}]},
        "model": {"reader": {"token_size": 16, "hidden": 16, "dropout": 0.1}},
        "optimizer": {"rate": 0.03, "schedule": "constant"},
        "batches": {"posts": 4},
        "loop": {"epochs": 8, "average": 0.5, "checkpoint_steps": 3},
        **changes,
    }
