"""Studies: layering, shipped files, and refusals that name file and key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from search_spaces.study import Study, load_study, shipped
from trainers.exceptions import ConfigError
from trainers.gan.config import GANConfig
from trainers.gan.feedback import feedback_weight


@pytest.mark.parametrize("study", shipped("studies"))
@pytest.mark.parametrize("fidelity", shipped("fidelities"))
def test_every_shipped_study_resolves_at_every_fidelity(study: str, fidelity: str) -> None:
    assert load_study(study, fidelity=fidelity).fidelity == fidelity


def test_table1_at_paper_fidelity_is_the_paper() -> None:
    study = load_study("table1")
    rows = [(arm.variant, study.synthetic_count(count)) for arm in study.arms for count in arm.counts]
    assert len(rows) == 10
    assert rows[0] == ("none", 0)
    assert [count for variant, count in rows if variant == "cpggan"] == [4000, 8000, 12000]
    assert study.gan_for("cpggan") == GANConfig(precision="tf32"), "the paper's but for how a GPU multiplies"
    assert study.gan.total_kimg * 1000 / study.gan.batch_size == 3_000_000
    assert study.detector.steps == 240_000


def test_study_overrides_fidelity_and_set_overrides_both(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(minimal() | {"fidelity": "laptop", "detector": {"steps": 7}}))
    assert load_study(str(path)).detector.steps == 7
    changed = load_study(str(path), overrides=["detector.steps=9", "gan.learning_rate=1e-4"])
    assert changed.detector.steps == 9
    assert changed.gan.learning_rate == 1e-4
    assert changed.prepare.size == load_study("quickstart").prepare.size


def test_workers_of_an_elastic_gan(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(minimal() | {"resources": {"gan": {"workers": 4, "min_workers": 1}}}))
    resources = load_study(str(path)).resources
    assert (resources.gan.min_workers, resources.gan.workers) == (1, 4)
    assert resources.gan.gpus_per_worker == 1, "the fidelity's"
    assert resources.detector.min_workers is None


def test_variant_overrides_touch_that_variant_only() -> None:
    study = load_study("quickstart", overrides=["variants.image2image.batch_size=3"])
    assert study.gan_for("image2image").batch_size == 3
    assert study.gan_for("cpggan").batch_size == study.gan.batch_size


@pytest.mark.parametrize("fidelity", shipped("fidelities"))
def test_the_detectors_loss_has_its_full_weight_for_most_of_the_last_resolution(fidelity: str) -> None:
    config = load_study("beyond", fidelity=fidelity).gan_for("cpggan+detector")
    assert feedback_weight(config, round(config.growth_kimg * 1000)) == pytest.approx(config.detector_weight)
    assert config.total_kimg > config.growth_kimg + config.detector_ramp_kimg


def minimal() -> dict[str, object]:
    return {"name": "mine", "cohort": "c", "fidelity": "paper", "arms": [{"variant": "none"}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gan": {"lerning_rate": 1}}, "gan.lerning_rate: unknown key; got 1"),
        ({"arms": [{"variant": "cpgan", "counts": [1]}]}, "arms.0.variant: .*'cpggan'.*got 'cpgan'"),
        ({"arms": [{"variant": "cpggan", "counts": [-5]}]}, "arms.0.counts.0: .*greater than or equal to 0; got -5"),
        ({"arms": [{"variant": "cpggan"}]}, "needs counts above 0"),
        (
            {"arms": [{"variant": "cpggan", "counts": [5]}], "count_scale": 0.05},
            "cpggan 5 rounds to 0 slices at count_scale",
        ),
        (
            {"arms": [{"variant": "cpggan", "counts": [4000, 4001]}], "count_scale": 0.05},
            "cpggan 200 is listed more than once",
        ),
        ({"arms": []}, "arms: nothing to run; needs at least one arm"),
        ({"seeds": [1, 1]}, "lists a seed more than once"),
        ({"prepare": {"size": 128}}, "prepare.size is 128 but gan.resolution is 256"),
        ({"variants": {"cpggan": {"nonsense": 1}}}, "nonsense"),
        (
            {"resources": {"gan": {"workers": 2, "min_workers": 3}}},
            r"resources.gan: min_workers: got 3; allowed: 1 to workers \(2\)",
        ),
        (
            {"resources": {"detector": {"workers": 4, "min_workers": 2}}},
            "detector.batch is 64, which 3 workers cannot share evenly",
        ),
        ({"seeds": 3}, r"mine.yaml:\d+: seeds: allowed is a list, e.g. \[3\]; got 3\.$"),
        ({"arms": {"variant": "none"}}, r"arms: allowed is a list, e.g. \[{...}\]; got a mapping\.$"),
        ({"detector": {"model": 3}}, r"mine.yaml:\d+: detector.model: allowed: yolov3, .* of Ultralytics; got 3\.$"),
        ({"prepare": 3}, r"prepare: allowed is a mapping, {key: value}; got 3\.$"),
        ({"fidelity": "laptob"}, "Unknown fidelity 'laptob'. Did you mean 'laptop'"),
    ],
)
def test_bad_study_is_refused_naming_file_and_key(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(minimal() | change))
    with pytest.raises(ConfigError, match=message):
        load_study(str(path))


@pytest.mark.parametrize("key", ["objectives", "constraints"])
@pytest.mark.parametrize("fidelity", ["laptop", "own.yaml"])
def test_a_figure_at_an_iou_that_is_not_evaluated_is_refused_at_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, fidelity: str
) -> None:
    """In a study that draws nothing, too: the figures rank and promote its cells."""
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("evaluation: {ious: [0.5, 0.7]}\n")
    own = "name: mine\ncohort: c\narms: [{variant: none}]\n"
    bound = ", at_least: 0.5" if key == "constraints" else ""
    Path("mine.yaml").write_text(f"{own}fidelity: {fidelity}\n{key}:\n  - {{metric: sensitivity, iou: 0.7{bound}}}\n")
    if fidelity == "own.yaml":
        assert load_study("mine.yaml").evaluation.ious == (0.5, 0.7)
        return
    told = rf"^mine.yaml:6: {key}.0.iou: allowed are evaluation.ious: 0.5, 0.25; got 0.7. Use one of them, or add 0.7"
    with pytest.raises(ConfigError, match=told):
        load_study("mine.yaml")


def test_the_first_cell_of_gan_quality_has_the_fidelity_s_own_settings() -> None:
    study = load_study("gan_quality")
    (first,) = study.search.first
    assert first.keys() == study.space.keys()
    own = study.gan_for("cpggan")
    for key in [key for key in first if key.startswith("gan.")]:
        assert first[key] == getattr(own, key.removeprefix("gan.")), key


def test_an_evaluation_without_the_iou_of_the_default_objective_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(minimal() | {"evaluation": {"ious": [0.25]}}))
    with pytest.raises(ConfigError, match=r"evaluation.ious: without objectives, .* must list 0.5.*got 0.25"):
        load_study(str(path))


def test_unknown_study_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"Unknown study 'tabel1'\. Did you mean 'table1'"):
        load_study("tabel1")


@pytest.mark.parametrize(("override", "message"), [("gan", r"dotted\.key=value"), ("gan=[1", "not valid YAML")])
def test_malformed_override_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study("table1", overrides=[override])


def test_study_documents_every_field() -> None:
    assert all(field.description for field in Study.model_fields.values())
