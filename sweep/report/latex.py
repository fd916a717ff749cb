"""Table 1 for a paper: LaTeX with booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sweep.report.section import MISSING
from sweep.report.table1 import Table1
from trainers.evaluation.measures import TABLE1

SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
}


def latex_of(table: Table1, source: str, header: Sequence[str]) -> str:
    """A `table*` environment; the preamble needs `\\usepackage{booktabs}`. Source and stage keys stand in comments."""
    section, ious = table.section(), table.ious
    titles = [*(f"{measure.title[0].upper()}{measure.title[1:]}" for measure in TABLE1), "Gain", "$p$"]
    span = len(titles)
    groups = " & ".join(rf"\multicolumn{{{span}}}{{c}}{{IoU $\geq$ {iou:g}}}" for iou in ious)
    rules = " ".join(rf"\cmidrule(lr){{{2 + span * i}-{1 + span * (i + 1)}}}" for i in range(len(ious)))
    columns = " & ".join(titles * len(ious))
    split = f"test split, {table.results.mark}" if table.results.mark else "test split"
    caption = f"Detection of brain metastases in study {table.study}, {split}. " + " ".join(header) + f" {table.note}"
    lines = [
        f"% {source}",
        r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{table.study.replace('_', '-')}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * span * len(ious)}r}}",
        r"\toprule",
        rf" & {groups} & \\",
        rules,
        rf"Arm & {columns} & Seeds \\",
        r"\midrule",
    ]
    for line in section.lines:
        lines.append(f"% {' '.join(line.keys)}")
        lines.append(" & ".join(map(_cell, line.cells)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}%", "}", r"\end{table*}", ""])


def _cell(text: str) -> str:
    """A cell of the table: escaped, with minus signs for hyphens before numbers, and dashes for missing values."""
    return "--" if text == MISSING else re.sub(r"(?<!\w)-(?=\d)", "$-$", escape(text))


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(character, character) for character in text)
