"""The guides launch studies so that they can be watched, stopped and continued from anywhere."""

from __future__ import annotations

import re

import pytest

from tests.infra.tools import INFRA

ON_THE_HEAD = re.compile(r"metsweep (\w+) table1\b[^\n`]* --cluster http://127\.0\.0\.1:8265")


@pytest.mark.parametrize(
    ("guide", "verbs"),
    [
        ("aws", {"launch", "logs", "stop"}),
        ("compose", {"launch", "logs", "stop"}),
        ("kubernetes", {"logs", "stop"}),  # a RayJob launches
    ],
)
def test_a_launch_is_a_job_that_metsweep_stops(guide: str, verbs: set[str]) -> None:
    text = (INFRA / guide / "README.md").read_text()
    assert {*ON_THE_HEAD.findall(text)} == verbs
    assert "metsweep watch table1" in text
    assert "continue" in text


def test_what_was_applied_to_kubernetes_is_deleted() -> None:
    """The same folder, so that objects of an overlay outside the namespace go as well."""
    text = (INFRA / "kubernetes/README.md").read_text()
    verbs = re.findall(r'kubectl (\w+) (?:--ignore-not-found )?--kustomize "\$cluster"', text)
    assert verbs == ["apply", "delete"]


def test_no_file_submits_a_launch_that_metsweep_does_not_know() -> None:
    """Such a job has no study in its metadata, and Ray kills it three seconds after the request to stop."""
    texts = [path for path in INFRA.rglob("*") if path.suffix in {".md", ".sbatch", ".sh", ".yaml"}]
    assert len(texts) > 30
    assert not [path for path in texts if "job submit" in path.read_text()]
