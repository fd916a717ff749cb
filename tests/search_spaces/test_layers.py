"""Refusals that point at the line, in the layer that set the value."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.layers import Layer, merged, override_layer
from search_spaces.study import load_study
from tests.search_spaces.studies import TEXT, written
from trainers.exceptions import ConfigError
from trainers.yaml_text import to_yaml


def refusal(study: str, *overrides: str, fidelity: str | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        load_study(study, overrides=overrides, fidelity=fidelity)
    return str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[1e-4, 3e-3]", "[3e-3, 1e-4]", "study.yaml:13: space.gan.learning_rate.float: allowed is [low, high] with"),
        ("    step: 400", "    stp: 400", "study.yaml:12: space.count.stp: unknown key; got 400. Did you mean 'step'?"),
        ("method: tpe", "method: x", "study.yaml:15: search.method: Input should be 'ablation', 'race', 'random'"),
        ("search:", "serach:", "study.yaml:14: serach: unknown key. Did you mean 'search'?"),
        ("variant: cpggan", "variant: cpgan", "study.yaml:6: arms.1.variant: "),
        ("[4000]", "[4000, 4001]", "study.yaml:7: arms.1.counts.1: cpggan 200 is listed more than once"),
        ("fidelity: laptop", "fidelity: 3", "study.yaml:3: fidelity: got 3; allowed: gpu, laptop, paper or a YAML"),
        ("fidelity: laptop\n", "", "study.yaml: fidelity: is missing; allowed: gpu"),
        ("cohort: c\n", "", "study.yaml: cohort: is missing."),
        ("name: mine", "name: mine\nname: yours", "study.yaml:2: name: stands here and in line 1; allowed: once."),
        ("    step: 400", "    step: 400\n    int: [1, 2]", "study.yaml:13: space.count.int: stands here and in line"),
        ("name: mine", "name: [mine", "study.yaml:2: not valid YAML"),
        ("name: mine", "name: mine\ngan: {learning_rate: fast}", "study.yaml:2: gan.learning_rate: Input should be a"),
        ("name: mine", "name: mine\ngan:\n  total_kimg: 1", "study.yaml:3: gan: total_kimg: got 1, but growing"),
        ("name: mine", "name: mine\nresources:\n  detector: {workers: 3}", "study.yaml:3: resources.detector: detect"),
        ("name: mine", "name: mine\n[a]: 3", "study.yaml:2: a list is not a key"),
        ("name: mine", "name: mine\ngan: &a\n  fade_kimg_at: *a", "refers to itself"),
        (TEXT, "- name", "must hold a mapping of keys to values, but holds a list"),
        (TEXT, "", "but holds nothing"),
    ],
)  # fmt: skip
def test_refusal_points_at_the_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in TEXT
    assert told in refusal(written(tmp_path, TEXT.replace(old, new, 1)))


def test_refusal_names_the_layer_that_set_the_value(tmp_path: Path) -> None:
    study = written(tmp_path)
    fidelity = tmp_path / "small.yaml"
    fidelity.write_text("# small\ndetector:\n  batch: 0\n")
    assert f"{fidelity}:3: detector.batch: " in refusal(study, fidelity=str(fidelity))
    assert "--set detector.batch=-1: detector.batch: " in refusal(study, "detector.batch=-1", fidelity=str(fidelity))
    # What an option replaces as a whole is not looked for in the file, which has a `variant` in that place.
    assert "--set arms=[{counts: [1]}]: arms.0.variant: is missing" in refusal(study, "arms=[{counts: [1]}]")
    assert "Unknown fidelity 'laptob'" in refusal(study, fidelity="laptob")


def test_every_complaint_is_told_at_once(tmp_path: Path) -> None:
    told = refusal(written(tmp_path, TEXT.replace("method: tpe", "method: x\n  trials: 0")), "seeds=[-1]")
    assert [line.split(": ")[1] for line in told.splitlines()] == ["seeds.0", "search.method", "search.trials"]


def test_aliases_and_merge_keys_of_yaml_are_followed(tmp_path: Path) -> None:
    shared = "name: mine\nvariants:\n  cpggan: &one {drift: 0.5, batch_size: 2}\n  image2image: {<<: *one, drift: 0.25}"
    path = written(tmp_path, TEXT.replace("name: mine", shared))
    study = load_study(path)
    assert (study.gan_for("image2image").drift, study.gan_for("image2image").batch_size) == (0.25, 2)
    assert study.gan_for("cpggan").drift == 0.5


@pytest.mark.parametrize("number", ["1e-4", "1E-4", "+1e-4", "1.0e-4", "'1e-4'", "0.0001", ".1e-3", "1.e-4"])
def test_numbers_with_exponents_are_numbers(tmp_path: Path, number: str) -> None:
    study = load_study(written(tmp_path), overrides=[f"gan.learning_rate={number}"])
    assert study.gan.learning_rate == 1e-4
    path = written(tmp_path, TEXT.replace("name: mine", f"name: mine\ngan: {{learning_rate: {number}}}"))
    assert load_study(path).gan.learning_rate == 1e-4


def test_options_reach_into_the_space_and_replace_lists(tmp_path: Path) -> None:
    study = written(tmp_path)
    overrides = ["space.count.step=800", "seeds=[0, 1]", "space.gan.learning_rate={choice: [1e-3, 2e-3]}"]
    made = load_study(study, overrides=overrides)
    assert made.space["count"].model_dump(exclude_unset=True) == {"int": (400, 12000), "step": 800}
    assert made.space["gan.learning_rate"].model_dump(exclude_unset=True) == {"choice": (0.001, 0.002)}
    assert made.seeds == (0, 1)


def test_lines_of_text_and_merging() -> None:
    assert override_layer("space.gan.width.when={variant: [cpggan]}") == Layer(
        "--set space.gan.width.when={variant: [cpggan]}", {"space": {"gan.width": {"when": {"variant": ["cpggan"]}}}}
    )
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": [4]}) == {"a": {"b": 3, "c": 2}, "d": [4]}
    assert to_yaml({"a": (1, "1e-4", None)}) == "{a: [1, '1e-4', null]}"
