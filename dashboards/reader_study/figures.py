"""Pictures of a reader study's scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from dashboards.reader_study.answers import Answer
from dashboards.reader_study.scores import is_real, signed_confidence
from dashboards.reader_study.study import ReadingTest

STYLES = ("-", "--", "-.", ":")


def roc_figure(test: ReadingTest, by_reader: Mapping[str, Sequence[Answer]]) -> Figure:
    """The ROC curve of every reader by confidence, from certainly real to certainly synthetic.

    Args:
        by_reader: name -> answers to this test, to at least one real and one synthetic image.
    """
    figure = Figure(figsize=(4.8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", lw=0.8, label="images that appear alike")
    for number, (name, answers) in enumerate(by_reader.items()):
        called, right, _ = roc_curve(is_real(test, answers), signed_confidence(answers), drop_intermediate=False)
        axes.plot(called, right, STYLES[number % len(STYLES)], marker="o", ms=3, label=name)
    axes.set(xlabel="share of synthetic images called real", ylabel="share of real images called real")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=test.title)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    return figure
