"""How a run went, as a picture: loss, scores on dev, learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def draw(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the picture (PNG). ``history`` has a row per epoch, as ``nlp.training.loop`` writes it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    epochs = [row["epoch"] for row in history]
    panels = figure.subplots(1, 3)
    for panel, names in zip(panels, (("loss",), ("precision", "recall", "f1"), ("rate",)), strict=True):
        for name in names:
            panel.plot(epochs, [row[name] for row in history], marker=".", label=name)
        panel.set_xlabel("epoch")
        panel.set_title("dev" if len(names) > 1 else names[0])
        panel.grid(alpha=0.3)
    panels[1].legend()
    FigureCanvasAgg(figure).print_png(str(path))  # type: ignore[no-untyped-call]
