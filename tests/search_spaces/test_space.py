"""What a search draws: forms, cells, and what no study may draw."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from search_spaces.cell import Cell
from search_spaces.problems import explain
from search_spaces.search import Constraint
from search_spaces.space import Choice, Dimension, FloatRange, IntRange
from search_spaces.study import Study, load_study
from tests.search_spaces.studies import SPACE, searching
from trainers.exceptions import ConfigError
from trainers.variants import GANS

optuna.logging.set_verbosity(optuna.logging.WARNING)
DIMENSION: TypeAdapter[Dimension] = TypeAdapter(Dimension)

CLOSE = {"metric": "sliced_wasserstein", "direction": "minimize"}
FAITHFUL = {"metric": "box_fidelity", "iou": 0.25}
WITH_SLICES = {"variant": {"choice": ["cpggan"]}, "count": {"choice": [4000]}}


def trials(study: Study, count: int, seed: int = 0, **options: Any) -> tuple[optuna.Study, list[Cell]]:
    drawing = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5), **options)
    cells = []
    for number in range(count):
        trial = drawing.ask()
        cells.append(study.draw(trial))
        drawing.tell(trial, float(number % 3))
    return drawing, cells


def int_ranges() -> st.SearchStrategy[dict[str, Any]]:
    ends = st.tuples(st.integers(1, 50), st.integers(1, 5000)).map(lambda two: [two[0], two[0] + two[1]])
    stepped = st.tuples(ends, st.integers(1, 5000)).map(lambda two: {"int": two[0], "step": two[1]})
    return st.one_of(
        stepped.filter(lambda form: form["step"] <= form["int"][1] - form["int"][0]),
        st.tuples(ends, st.booleans()).map(lambda two: {"int": two[0], "log": two[1]}),
    )


def float_ranges(low: float, high: float) -> st.SearchStrategy[dict[str, Any]]:
    # As people write them: with few digits.
    numbers = st.floats(low, high).map(lambda value: float(f"{value:.3g}")).filter(lambda value: low <= value <= high)
    ends = st.tuples(numbers, numbers).map(sorted).filter(lambda two: two[0] < two[1])
    stepped = st.tuples(ends, numbers.filter(lambda value: value >= 0.001)).map(
        lambda two: {"float": two[0], "step": two[1]}
    )
    return st.one_of(
        stepped.filter(lambda form: form["step"] <= form["float"][1] - form["float"][0]),
        st.tuples(ends, st.booleans()).map(lambda two: {"float": two[0], "log": two[1]}),
    )


SPACES = st.fixed_dictionaries(
    {
        "variant": st.lists(
            st.sampled_from(["none", "cpggan", "cpggan+normal", "image2image"]), min_size=1, unique=True
        ).map(lambda variants: {"choice": variants}),
        "count": int_ranges(),
    },
    optional={
        "gan.learning_rate": float_ranges(1e-6, 1.0),
        "gan.stddev_group": int_ranges(),
        "gan.horizontal_flip": st.just({"choice": [True, False]}),
        "gan.condition_channels": st.just({"choice": ["1", "match"]}),
        "synthesis.max_attempts": int_ranges(),
        "detector.box_gain": float_ranges(0.01, 100.0),
        "detector.synthetic_share": st.just({"choice": [None, 0.25, 0.5]}),
    },
)


@settings(deadline=None, max_examples=40)
@given(SPACES, st.integers(0, 2**16))
def test_a_drawn_cell_is_rebuilt_from_its_trial_and_keeps_to_the_space(space: dict[str, Any], seed: int) -> None:
    study = searching(space=space)
    drawing, cells = trials(study, 8, seed)
    for trial, cell in zip(drawing.trials, cells, strict=True):
        assert study.cell_of(trial.params) == cell
        assert cell.variant in space["variant"]["choice"]
        assert list(cell.params) == sorted(cell.params)
        for key, distribution in trial.distributions.items():
            assert distribution == study.space[key].distribution()
        made = study.with_params(cell)
        values = {"gan": made.gan, "synthesis": made.synthesis, "detector": made.detector}
        for key, value in cell.params:
            section, _, name = key.partition(".")
            assert getattr(values[section], name) == value
        if cell.variant == "none":
            assert cell.paper_count == 0
            assert all(key.startswith("detector.") for key, _ in cell.params)
        else:
            low, high = space["count"]["int"]
            assert low <= cell.paper_count <= high
            assert (cell.paper_count - low) % space["count"].get("step", 1) == 0
            assert cell.variant in GANS
            assert made.gan_for(cell.variant) == made.gan or not any(key.startswith("gan.") for key, _ in cell.params)


@settings(deadline=None)
@given(st.one_of(int_ranges(), float_ranges(1e-6, 1e3)), st.integers(0, 100))
def test_a_range_draws_only_what_optuna_allows_for_its_distribution(form: dict[str, Any], seed: int) -> None:
    dimension = DIMENSION.validate_python(form)
    drawing = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    value = dimension.suggest(drawing.ask(), "x")
    distribution = dimension.distribution()
    assert distribution._contains(distribution.to_internal_repr(value))
    low, high = dimension.model_dump()["int" if "int" in form else "float"]
    assert low <= value <= high
    assert DIMENSION.validate_python(dimension.model_dump()) == dimension


def test_only_what_applies_to_a_variant_is_drawn() -> None:
    _, cells = trials(searching(), 60)
    keys = {cell.variant: {key for key, _ in cell.params} for cell in cells}
    assert keys == {
        "none": {"detector.box_gain"},
        "cpggan": {"detector.box_gain", "gan.learning_rate"},
        "image2image": {"detector.box_gain", "gan.learning_rate", "gan.width"},
    }
    assert all(cell.paper_count % 400 == 0 and (cell.paper_count > 0) == (cell.variant != "none") for cell in cells)
    assert all(hash(cell) for cell in cells)


def test_a_step_that_does_not_divide_the_range_ends_below_it() -> None:
    whole = DIMENSION.validate_python({"int": [400, 12000], "step": 800})
    assert isinstance(whole, IntRange)
    assert whole.ends == (400, 11600)
    tenths = DIMENSION.validate_python({"float": [0, 0.35], "step": 0.1})
    assert isinstance(tenths, FloatRange)
    assert tenths.ends == (0, 0.3)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"float": [1, 1]}, "low below high"),
        ({"float": [2, 1]}, "low below high"),
        ({"float": [0, 1], "log": True}, "low must be above 0"),
        ({"float": [0.1, 1], "log": True, "step": 0.1}, "step is not allowed"),
        ({"float": [0, 1], "step": 0}, "greater than 0"),
        ({"float": [0, 1], "step": 1.5}, "at most the range"),
        ({"float": [0, float("inf")]}, "finite"),
        ({"int": [1, 2.5]}, "valid integer"),
        ({"int": [1]}, "Field required"),
        ({"int": [1, 2], "choice": [1]}, "allowed is one of"),
        ({"step": 1}, "allowed is one of"),
        ({"choice": []}, "at least 1 item"),
        ({"choice": [1, 2, 1.0]}, "more than once"),
        ({"choice": [[1]]}, r"allowed is a single value: text, a number, true, false or null; got \[1\]"),
        ([1, 2], "allowed is one of"),
    ],
)
def test_malformed_form_is_refused(form: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DIMENSION.validate_python(form)


def test_variant_and_count_come_from_the_arms_where_they_are_not_drawn() -> None:
    arms = [{"variant": "none"}, {"variant": "cpggan", "counts": [4000]}]
    study = searching(arms=arms, space={"gan.drift": {"float": [0, 1]}})
    assert study.cells() == [Cell("none"), Cell("cpggan", 4000)]
    drawing, cells = trials(study, 3)
    assert [(cell.variant, cell.paper_count) for cell in cells] == [("cpggan", 4000)] * 3
    assert study.cell_of(drawing.trials[0].params) == cells[0]


def test_a_cells_values_win_over_the_variants_overrides() -> None:
    study = load_study("count_curve")
    assert study.gan_for("image2image").width == 0.25
    made = study.with_params(Cell("image2image", 400, (("gan.width", 0.5),)))
    assert made.gan_for("image2image").width == made.gan.width == 0.5
    assert made.gan_for("image2image").learning_rate == study.gan.learning_rate
    assert study.with_params(Cell("image2image", 400)) is study


def test_values_that_are_not_allowed_together_are_refused_when_set() -> None:
    with pytest.raises(ConfigError, match=r"detector\.learning_rate.*at most learning_rate"):
        searching().with_params(Cell("none", 0, (("detector.learning_rate", 1e-4),)))
    with pytest.raises(ConfigError, match=r"prepare\.size is 256 but gan\.resolution is 128"):
        searching().with_params(Cell("cpggan", 400, (("gan.resolution", 128),)))


CPGGAN = {"variant": {"choice": ["cpggan"]}, "count": {"choice": [4000]}}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"gan.lerning_rate": {"choice": [1]}},
            "space.gan.lerning_rate: unknown key. Did you mean 'gan.learning_rate'",
        ),
        ({"evaluation.bootstraps": {"choice": [100]}}, "space.evaluation.bootstraps: unknown key"),
        ({"gan.variant": {"choice": ["cpggan"]}}, "cannot be drawn: the variant is drawn by the key 'variant'"),
        ({"detector.seed": {"choice": [1]}}, "every cell is trained with each of the study's seeds"),
        ({"seed": {"choice": [1]}}, "space.seed: cannot be drawn: seeds are not searched"),
        ({"seeds": {"choice": [1]}}, "space.seeds: cannot be drawn: seeds are not searched"),
        ({"gan.drift": {"choice": [[1, 2], 3]}}, r"^study.yaml: space.gan.drift.choice.0: allowed .*\.$"),
        ({"gan.drift": {"float": 3}}, r"allowed is a list of two, \[low, high\]; got 3"),
        ({"gan.drift": {"float": [1, 2, 3]}}, r"allowed is a list of two, \[low, high\]; got \[1, 2, 3\]"),
        ({"gan.learning_rate": {"float": [0, 1]}}, "float.0: 0.0 is not allowed for cpggan: .*greater than 0"),
        ({"gan.beta1": {"float": [0, 1]}}, "float.1: 1.0 is not allowed for cpggan: .*less than 1"),
        ({"gan.loss": {"choice": ["r1", "r2"]}}, "choice.1: 'r2' is not allowed"),
        ({"gan.resolution": {"int": [128, 256], "step": 64}}, "space.gan.resolution.int.0: 128 .* must be equal"),
        ({"gan.batch_size": {"float": [1, 8]}}, "gan.batch_size is a whole number; allowed is {int"),
        ({"gan.horizontal_flip": {"int": [0, 1]}}, "true or false"),
        ({"gan.batch_size": {"choice": ["8"]}}, "'8' is read as 8; write 8"),
        ({"variant": {"choice": ["cpgan"]}}, "space.variant.choice.0: .*got 'cpgan'. Did you mean 'cpggan'"),
        ({"variant": {"int": [0, 1]}}, r"space.variant: allowed is \{choice"),
        ({"count": {"float": [1, 2]}}, "counts are whole numbers"),
        ({"count": {"int": [0, 400]}}, "space.count.int.0: .*got 0"),
        ({"count": {"choice": [4.5]}}, "space.count.choice.0: .*got 4.5"),
        ({"gan.drift": {"choice": [1], "when": {"variant": ["image2image"]}}}, "image2image is never drawn"),
        ({"gan.drift": {"choice": [1], "when": {"variant": ["none"]}}}, "nothing about the variant 'none'"),
        ({"variant": {"choice": ["cpggan"], "when": {"variant": ["cpggan"]}}}, "cannot depend on itself"),
        (
            {"detector.learning_rate": {"float": [1e-4, 1e-3]}, "gan.drift": {"float": [0, 1]}},
            "space.detector.learning_rate.float.0: 0.0001 is not allowed.*$",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_its_key_alone(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        searching(space=CPGGAN | space)
    told = explain("study.yaml", raised.value)
    assert all(line.startswith(f"study.yaml: space.{next(iter(space))}") for line in told.splitlines()), told
    assert re.search(message, told), told


def test_two_keys_that_are_allowed_only_together_may_be_drawn() -> None:
    rates = {"detector.learning_rate": {"float": [1e-4, 1e-3]}, "detector.final_learning_rate": {"float": [1e-6, 1e-4]}}
    assert searching(space=CPGGAN | rates)
    rates["detector.final_learning_rate"] = {"float": [1e-6, 5e-4]}
    with pytest.raises(ValidationError, match=r"beside other keys of space, 0\.0001 is not allowed"):
        searching(space=CPGGAN | rates)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count_scale": 0.001}, "400 rounds to 0 slices at count_scale 0.001"),
        ({"search": {}, "space": {}}, "nothing to run"),
        ({"space": {}}, "'tpe' draws from space, which is missing"),
        ({"objectives": []}, "at least 1 item"),
        ({"objectives": [{}, {"iou": 0.25}], "search": {"method": "tpe", "pruning": "asha"}}, "Optuna cannot prune"),
        ({"objectives": [{}, {}]}, "more than once"),
        ({"objectives": [{"metric": "fps_per_slice"}]}, "allowed for fps_per_slice is minimize"),
        ({"constraints": [{}]}, "needs one of at_most and at_least, e.g. at_most: 12; got neither"),
        ({"constraints": [{"at_most": 1, "at_least": 0}]}, "needs one of at_most and at_least.*got both"),
        ({"constraints": [{"metric": "box_fidelity", "at_least": 50}]}, "a share; allowed: 0 to 1, e.g. 0.5; got 50"),
        ({"constraints": [{"metric": "sensitivity_at_1_fps", "at_most": 1.1}]}, "is a share; allowed: 0 to 1.*got 1.1"),
        ({"space": {"gan.drift": {"float": [0, 1]}}}, "ambiguous: arms lists no variant with synthetic slices"),
        ({"space": {k: v for k, v in SPACE.items() if k != "count"}}, "the count to draw cpggan with is ambiguous"),
    ],
)  # fmt: skip
def test_search_that_cannot_be_made_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        searching(**changes)


@pytest.mark.parametrize("pruning", ["asha", "median"])
def test_only_what_detectors_validate_to_along_the_way_is_pruned_by(pruning: str) -> None:
    search = {"method": "tpe", "pruning": pruning}
    fewest = {"metric": "fps_per_slice", "direction": "minimize"}
    assert searching(search=search)
    assert searching(search=search, objectives=[fewest])
    assert searching(search=search, objectives=[{"iou": 0.25}], detector={"selection_iou": 0.25})
    for objective, told in (
        ({"iou": 0.25}, "sensitivity at IoU 0.25"),
        (fewest | {"iou": 0.25}, "fps_per_slice at IoU 0.25"),
        ({"metric": "sensitivity_at_1_fps"}, "sensitivity_at_1_fps at IoU 0.5"),
    ):
        assert searching(objectives=[objective])
        with pytest.raises(ValidationError) as raised:
            searching(search=search, objectives=[objective])
        line = explain("study.yaml", raised.value)
        assert line.startswith("study.yaml: search.pruning: pruning would compare cells by a figure other than")
        assert f"{told}: during training, detectors are validated by sensitivity or fps_per_slice at IoU 0.5 " in line
        assert line.endswith(f"Allowed: none, or one of those as the objective; got '{pruning}'.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objectives": [{"metric": "sliced_wasserstein"}]},
            "allowed for sliced_wasserstein is minimize; got 'maximize'",
        ),
        ({"objectives": [CLOSE | {"iou": 0.25}]}, "sliced_wasserstein has no IoU threshold; leave it out; got 0.25"),
        ({"objectives": [FAITHFUL | {"iou": 0.3}]}, r"allowed are evaluation.ious: 0.5, 0.25; got 0.3"),
        ({"objectives": [CLOSE, CLOSE]}, "an objective is listed more than once"),
        (
            {"objectives": [CLOSE], "search": {"method": "tpe", "pruning": "asha"}},
            "other than the objective, sliced_wasserstein: during training, detectors are validated by sensitivity",
        ),
        (
            {"constraints": [FAITHFUL | {"at_least": 0.5}], "space": {"variant": {"choice": ["cpggan", "none"]}}},
            "box_fidelity is a figure of synthetic slices, of which none has none; leave it out of space.variant",
        ),
    ],
)
def test_figures_of_slices_that_cannot_be_searched_for_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        searching(**{"space": WITH_SLICES, **changes})


@pytest.mark.parametrize(
    ("key", "drawn", "advice"),
    [
        ("count", {"int": [4000, 8000]}, r"Draw one count, e\.g\. {choice: \[8000\]}, or add a figure of"),
        ("detector.box_gain", {"float": [2.5, 10]}, "Leave it out, or add a figure of the detectors"),
    ],
)
def test_what_cannot_change_figures_of_slices_is_drawn_only_beside_others(
    key: str, drawn: dict[str, Any], advice: str
) -> None:
    space = {"variant": {"choice": ["cpggan"]}, "count": {"choice": [8000]}, "gan.drift": {"float": [0, 1]}}
    assert searching(space=space, objectives=[CLOSE], evaluation={"ious": [0.5]})
    with pytest.raises(ValidationError, match=f"changes no objective and no constraint, which are all.*{advice}"):
        searching(space=space | {key: drawn}, objectives=[CLOSE])
    assert searching(space=space | {key: drawn}, objectives=[CLOSE, {}])
    assert searching(space=space | {key: drawn}, objectives=[CLOSE], constraints=[{"at_most": 12}])


def test_figures_of_slices_are_searched_for_without_an_iou_they_do_not_need() -> None:
    study = searching(space=WITH_SLICES, objectives=[CLOSE, FAITHFUL], evaluation={"ious": [0.25]})
    assert [figure.label for figure in study.searched] == ["sliced_wasserstein", "box_fidelity at IoU 0.25"]
    assert study.judges_slices
    assert Study.model_validate(study.model_dump()) == study
    assert not searching().judges_slices


def test_a_space_that_nothing_draws_from_is_refused_unless_asked_for() -> None:
    arms = [{"variant": "none"}]
    values = {"name": "mine", "cohort": "c", "fidelity": "paper", "arms": arms, "space": SPACE}
    with pytest.raises(ValidationError, match="no search draws from it"):
        Study.model_validate(values)
    study = Study.model_validate(values | {"search": {"method": "ablation"}})
    assert study.cells() == [Cell("none")]
    assert Study.model_validate(study.model_dump()) == study


def test_a_constraint_is_kept_where_its_violation_is_not_above_zero() -> None:
    assert Constraint(at_most=12).violation(11) == -1
    assert Constraint(at_most=12).violation(13) == 1
    assert Constraint(metric="sensitivity", at_least=0.5).violation(0.25) == 0.25
    assert Constraint(metric="sensitivity", at_least=1).bound == "at least 1"
    assert isinstance(searching().space["gan.width"], Choice)


def test_the_detectors_model_is_a_choice_like_any_other(tmp_path: Path) -> None:
    network = tmp_path / "small.yaml"
    network.write_text("backbone: [[-1, 1, Conv, [16, 3, 8]]]\nhead: [[[0], 1, Detect, [nc]]]\n")
    study = searching(space={"variant": {"choice": ["none"]}, "detector.model": {"choice": ["yolov3", str(network)]}})
    names = {study.with_params(cell).detector.model_name for cell in trials(study, 8)[1]}
    assert names == {"yolov3", "small.yaml"}
    with pytest.raises(
        ValidationError, match=r"'yolov33' is not allowed for none: model: .*allowed: yolov3, yolov3-tiny"
    ):
        searching(space={"variant": {"choice": ["none"]}, "detector.model": {"choice": ["yolov3", "yolov33"]}})


def test_a_model_without_yolos_loss_has_one_worker_and_teaches_no_gan() -> None:
    two = {"detector": {"workers": 2}}
    with pytest.raises(
        ValidationError, match=r"trains with one worker, but resources\.detector\.workers is 2; allowed"
    ):
        searching(detector={"model": "rtdetr-l"}, resources=two)
    space = {"variant": {"choice": ["none"]}, "detector.model": {"choice": ["yolov3", "rtdetr-l"]}}
    with pytest.raises(ValidationError, match="'rtdetr-l' is not allowed for none: trains with one worker"):
        searching(space=space, resources=two)
    arms = [{"variant": "cpggan+detector", "counts": [4000]}]
    with pytest.raises(ValidationError, match=r"cpggan\+detector cannot learn from it; allowed"):
        searching(detector={"model": "rtdetr-l"}, arms=arms)
    assert searching(arms=arms, space=space).detector.dense, "the GAN learns from the study's own model"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"count": 400}, r"search\.first\.0\.variant: allowed: one of none, cpggan, image2image"),
        ({"variant": "cpgan"}, "got 'cpgan'"),
        ({"variant": "none", "count": 400}, r"first\.0\.count: is not drawn for none; allowed: variant, detector"),
        ({"variant": "cpggan", "gan.width": 0.25}, r"gan\.width: is not drawn for cpggan"),
        ({"variant": "cpggan", "count": 500}, r"allowed is a value that space\.count draws, .*'step': 400.*; got 500"),
        ({"variant": "cpggan", "gan.learning_rate": 1}, r"gan\.learning_rate: allowed is a value.*; got 1"),
        ({"variant": "none", "detector.box_gain": 3}, r"box_gain: allowed is a value.*; got 3"),
        ({"variant": "none", "detector.box_gain": 5}, None),
        ({"variant": "image2image", "gan.width": 0.5, "count": 12000, "gan.learning_rate": 3e-3}, None),
    ],
)
def test_cells_to_draw_first_lie_within_the_space(cell: dict[str, Any], message: str | None) -> None:
    def search() -> Study:
        return searching(search={"method": "tpe", "first": [cell]})

    if message is None:
        assert search().search.first == (cell,)
        return
    with pytest.raises(ValidationError) as refused:
        search()
    assert re.search(message, explain("mine.yaml", refused.value))


def test_no_more_cells_first_than_are_drawn() -> None:
    with pytest.raises(ValidationError, match=r"lists 3 cells; allowed: up to search\.trials, 2"):
        searching(search={"method": "tpe", "trials": 2, "first": [{"variant": "none"}] * 3})


def test_a_whole_cell_is_drawn_first_once_and_no_study_begins_with_its_own_cells() -> None:
    cells: list[dict[str, Any]] = [
        {"variant": "none"},
        {"variant": "none"},
        {"variant": "none", "detector.box_gain": 5},
    ]
    assert len(searching(search={"method": "tpe", "first": cells}).search.first) == 3, "a key left out is drawn anew"
    with pytest.raises(ValidationError) as refused:
        searching(search={"method": "tpe", "first": [*cells, {"detector.box_gain": 5.0, "variant": "none"}]})
    message = "mine.yaml: search.first.3: is cell 2 once more; allowed: every cell once; got {"
    assert message in explain("mine.yaml", refused.value)
    own = searching().name
    with pytest.raises(ValidationError, match=rf"is this study itself; allowed: another study .*; got '{own}'"):
        searching(search={"method": "tpe", "first_from": {"study": own}})
