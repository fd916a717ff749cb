"""Texts that people read (messages, help, docstrings, comments, Markdown, YAML comments) keep to plain English.

The list holds turns that strangers had to read twice, each with what to write in its place. It is short on purpose.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_files import ROOT

ROOMS = ("dashboards", "infra", "search_spaces", "sweep", "trainers")
BANNED = {
    r"\b(re)?tells?\b|\btold\b|\btelling\b": "report, record, show, give, decide; undetermined; indistinguishable",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\ban own\b": "its own X, a separate X",
    r"\blet us in\b": "cannot connect to X",
    r"\b(is|are|what is) there\b": "exists, is in X, is listed",
    r"\b(is|are) (not|no longer) there\b": "is missing, does not exist",
    r"\bstands? twice\b": "is listed twice",
    r"\bnobody (knows|took)\b": "is unknown",
    r"\bto go on with\b": "to resume",
    r"\bone (\w+ )?an? (seed|arm|trial|stage|cell|GAN|variant|slice|lesion|patient)\b": "one per X",
    r"\ba panel a\b|\bonce a (seed|process|trial|cell)\b": "per X",
    r"\b(passe?s?|forced) (over|past) (its |every )?gates?\b|\bforced past\b": "override gates",
    r"\blook into the\b|\bclears? (it|them) up\b": "list, inspect; clean up",
    r"\bthe hopeless\b": "poor cells",
    r"\bhow (it|they|a study|the study) stands?\b": "progress, status",
    r"\bhow long still\b|\bleft still\b": "time left, remaining",
    r"\bno slice at all\b": "rounds to 0 slices",
    r"\bholds 0\b": "includes 0",
    r"\bit was tried for\b": "retried for",
    r"\bwould know the\b": "data would leak into X",
    r"\bwithout a word\b": "silently",
}
"""Pattern -> what to write instead."""
ALLOWED = re.compile(r"`tell`|\bask-and-tell\b|\btell\(|^\"cannot (tell\"$|be told: )")
"""Optuna's own word, and what documents of before hold."""
PROSE = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
PLACEHOLDER = re.compile(r"\{[^{}]*\}")
"""What an f-string fills in."""


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of what a person reads in a file."""
    content = file.read_text()
    if file.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(content).readline):
            if token.type in PROSE:
                yield token.start[0], PLACEHOLDER.sub("", " ".join(token.string.split()))
    else:
        for number, line in enumerate(content.splitlines(), 1):
            yield number, line if file.suffix in (".md", ".jinja") else line.partition("#")[2]


def files(room: str) -> list[Path]:
    """Python, Markdown, YAML and templates of a room, or the files at the top."""
    if room == ".":
        return [ROOT / "README.md", ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "tests/benchmarks/RESULTS.md"]
    return [path for suffix in ("py", "md", "yaml", "jinja") for path in sorted((ROOT / room).rglob(f"*.{suffix}"))]


def banned(text: str) -> list[str]:
    """The banned turns in a text, with what to write."""
    text = ALLOWED.sub("", text)
    return [f"{found[0]!r} -> {instead}" for turn, instead in BANNED.items() if (found := re.search(turn, text, re.I))]


@pytest.mark.parametrize("room", [*ROOMS, "."])
def test_texts_are_plain(room: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{number}: {turn}"
        for file in files(room)
        for number, text in texts(file)
        for turn in banned(text)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "# it told last 0:00 ago", '"""One seed an arm."""', 'f"{x} Mend that"', "# Cannot be told", "# is there\n",
        'f"{arm} is there more than once"', "# Forced past: memorisation",
    ],
)  # fmt: skip
def test_turns_are_seen(text: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(text)
    assert [turn for _, line in texts(file) for turn in banned(line)]


def test_names_optuna_and_what_is_filled_in_are_no_prose(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text('told = 1  # `tell` of Optuna\nf"{told} trials"\n')
    assert not [turn for _, line in texts(file) for turn in banned(line)]
