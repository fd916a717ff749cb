"""Tables and pictures of a study of three arms and three seeds, from evaluations drawn at random on real slices."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.console import TextConsole
from sweep.report.evidence import Evidence
from sweep.report.latex import latex_of
from sweep.report.report import Report, build_report
from sweep.report.section import Section, covers
from sweep.report.sections.gains import gain_sections, seeds_section
from sweep.report.verdict import verdict
from sweep.store import Store
from tests.sweep.evaluated import evaluate, prepared_slices
from tests.sweep.small_study import small_plan
from trainers.evaluation.arms import Arm
from trainers.evaluation.comparison import Comparison

SKILL = {"none": 0.3, "cpggan 4": 0.9, "cpggan 8": 0.35}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_of(tmp_path_factory.mktemp("store"), (0, 1, 2))


@pytest.fixture(scope="module")
def one_seed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("one_seed")


@pytest.fixture(scope="module")
def of_one_seed(one_seed_folder: Path) -> Report:
    return report_of(one_seed_folder, (0,))


@pytest.fixture(scope="module")
def extended(one_seed_folder: Path, of_one_seed: Report) -> Report:
    """The same evaluations as `of_one_seed`, of a study that now has two seeds more."""
    assert of_one_seed.evidence, "its trials are evaluated"
    return build_report(small_plan(seeds=(0, 1, 2)), Store(one_seed_folder))


def report_of(folder: Path, seeds: tuple[int, ...]) -> Report:
    plan, store = small_plan(seeds=seeds), Store(folder)
    slices = prepared_slices(plan, store)
    for trial in plan.trials:
        if trial.arm in SKILL:
            evaluate(plan, store, trial, slices, SKILL[trial.arm])
    return build_report(plan, store)


def section(report: Report, title: str) -> Section:
    return next(one for one in report.sections if one.title == title)


def test_every_table_is_there_for_both_ious(report: Report) -> None:
    titles = [one.title for one in report.sections]
    for iou in ("0.5", "0.25"):
        for title in (
            f"Gain in sensitivity over none, IoU {iou}",
            f"Sensitivity at given false positives per slice, IoU {iou}",
            f"Slices, 3D lesions and chance, IoU {iou}",
        ):
            assert title in titles
    for one in report.sections:
        assert all(len(row) == len(one.columns) for row in one.rows)


def test_only_complete_arms_are_compared_with_the_real_only_one(report: Report) -> None:
    gains = section(report, "Gain in sensitivity over none, IoU 0.5")
    rows = {row[0]: row for row in gains.rows}
    assert list(rows) == ["cpggan 4", "cpggan 8"]
    assert float(rows["cpggan 4"][1].split()[0]) > 0.3
    assert "3 detector seeds" in section(report, "Gain in sensitivity over none, IoU 0.25").note, "once, below the last"
    assert float(rows["cpggan 8"][3]) >= float(rows["cpggan 8"][2]), "Holm never lowers a p"
    assert float(rows["cpggan 4"][3]) <= 2 * float(rows["cpggan 4"][2]) + 0.001
    sensitivity = section(report, "Slices, 3D lesions and chance, IoU 0.5")
    assert [row[0] for row in sensitivity.rows] == ["none", "cpggan 4", "cpggan 8"]


def test_sizes_of_few_lesions_have_their_number_and_no_gain(report: Report) -> None:
    by_size = section(report, "Gain in 3D lesion sensitivity by size, IoU 0.5")
    (_, all_lesions, *few), numbers = (
        by_size.rows[0],
        [column.split("(")[1].rstrip(")") for column in by_size.columns[2:]],
    )
    assert few == [f"{number} lesion{'' if number == '1' else 's'}: too few" for number in numbers]
    assert all_lesions[0] in "+-"
    assert [name for name in by_size.lines[0].values if name.startswith("gain")][::4] == ["gain all"]


def test_table_1_has_intervals_and_adjusted_p(report: Report) -> None:
    table = report.table1
    lines = {line.cells[0]: line for line in table.section().lines}
    assert lines["image2image 4"].cells[1:5] == ["-"] * 4
    for iou, gains in (report.evidence or pytest.fail("no evidence")).gains.items():
        at = f"iou{round(100 * iou)}"
        values = lines["cpggan 4"].values
        gain = gains["cpggan 4"]
        name = f"test_sensitivity_{at}_gain_over_none"
        assert values[name] == pytest.approx(gain.plain.difference)
        assert values[f"{name}_p_holm"] == gain.p
        low, mean, high = (values[f"test_sensitivity_{at}{end}"] for end in ("_low", "", "_high"))
        assert isinstance(low, float)
        assert isinstance(mean, float)
        assert isinstance(high, float)
        assert 0 <= low < mean < high <= 1
    assert "[" in lines["cpggan 4"].cells[1]


def test_seeds_that_are_added_take_no_figures_away(of_one_seed: Report, extended: Report) -> None:
    """Until they have run, every figure is that of the seeds before, and bears how many those are."""
    assert extended.verdict.startswith(f"Preliminary (1 of 3 seeds): {of_one_seed.verdict.split(' To measure')[0]}")
    assert "To measure" not in extended.verdict or extended.verdict.endswith("other seeds: `metsweep launch small`.")
    assert any(line.startswith("Every figure is of 1 of 3 seeds (0)") for line in extended.header)
    before, after = ({line.cells[0]: line for line in one.table1.section().lines} for one in (of_one_seed, extended))
    for arm, line in before.items():
        assert after[arm].cells[:-1] == line.cells[:-1]
        if arm in SKILL:
            assert after[arm].keys == line.keys, "those of the trials that the figures are of"
            assert after[arm].values["seeds_compared"] == 1
    unmarked = {"cost", "gans"}
    for one, same in zip(extended.sections, of_one_seed.sections, strict=True):
        assert one.title == (same.title if one.name in unmarked else f"{same.title} (1 of 3 seeds)")
        if one.name not in unmarked:
            assert str(one.rows).replace("1/3", "1/1") == str(same.rows)
    assert extended.forest
    assert extended.slices
    assert all(one.title.endswith("(1 of 3 seeds)") for one in (extended.forest, extended.slices))


def test_every_format_and_picture_bears_the_mark(extended: Report) -> None:
    assert extended.table1.section().title == "Table 1 of small (1 of 3 seeds)"
    assert "## Table 1 (1 of 3 seeds)" in extended.markdown()
    assert "test split, 1 of 3 seeds." in latex_of(extended.table1, "", ())
    for picture in (extended.forest, extended.slices):
        assert picture
        assert picture.draw
        assert picture.draw().get_suptitle().startswith("1 of 3 seeds"), picture.name
    console = TextConsole(width=200, file=io.StringIO())
    with console.capture() as shown:
        console.print(extended.table1.table())
    assert "(test split, 1 of 3 seeds)" in shown.get()


def test_every_row_names_its_stages_and_every_value_is_unrounded(report: Report) -> None:
    known = {key for row in report.rows for key in row.keys}
    for one in (one for one in report.sections if not one.is_picture):
        header, *rows = one.csv().splitlines()
        assert len(rows) == len(one.lines)
        if one.name not in ("cost", "gans"):
            assert header.endswith("stage_keys"), one.name
            assert all(line.keys and set(line.keys) <= known for line in one.lines), one.name


def test_pictures_and_tables_are_written(report: Report, tmp_path: Path) -> None:
    written = {str(path.relative_to(tmp_path)) for path in report.write(tmp_path)}
    pictures = (
        "pareto", "count_response_iou50", "count_response_iou25", "froc_iou50", "froc_iou25", "confidence",
        "calibration", "gained", "gains",
    )  # fmt: skip
    assert {f"figures/{name}.png" for name in pictures} == {name for name in written if name.endswith(".png")}
    assert {"report.md", "table1.csv", "table1.tex", "report.html", "tables/gain_iou50.csv"} <= written
    text, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    for one in report.sections:
        assert f"## {one.title}" in text
        assert f"<h2>{one.title}</h2>" in page
    order = ("# Study small", "Newest result: ", f"**{report.verdict}**", "figures/gains.png", "## Table 1")
    for content, first in (
        (text, order),
        (page, ("<h1>Study", "Newest", 'class="verdict"', 'id="gains"', 'id="table1"')),
    ):
        places = [content.index(part) for part in (*first, "gained", "Gain in sensitivity over none, IoU 0.5")]
        assert places == sorted(places), "what matters most comes first"
    assert page.count("data:image/svg+xml;base64,") == len(pictures)
    assert page.count("<details id=") == len(report.sections) + 1
    assert min(path.stat().st_size for path in (tmp_path / "figures").iterdir()) > 1000


def test_undecided_comparisons_name_the_command_that_adds_seeds(report: Report) -> None:
    assert report.evidence is not None
    undecided = seeds_section(with_gain(report.evidence, seed_variance=0.01, patient_variance=0.0), 0.1, "my.yaml")
    assert undecided is not None
    needed = undecided.lines[0].values["seeds_needed"]
    assert isinstance(needed, int)
    assert needed > 3
    assert undecided.rows[0][-1] == str(needed)
    assert f"`metsweep extend my.yaml --seeds {needed}`, then `metsweep launch my.yaml`." in undecided.note
    many = seeds_section(with_gain(report.evidence, seed_variance=0.01, patient_variance=0.1), 0.1, "small")
    assert many is not None
    assert many.rows[0][-1] == "-"
    assert "more test patients" in many.note
    enough = seeds_section(with_gain(report.evidence, seed_variance=1e-6, patient_variance=0.0), 0.1, "small")
    assert enough is not None
    assert "would most likely have shown" in enough.note
    decided = with_gain(report.evidence, difference=0.5, seed_variance=0.01, patient_variance=0.0)
    assert seeds_section(decided, 0.1, "small") is None


def with_gain(
    evidence: Evidence, *, difference: float = 0.01, seed_variance: float, patient_variance: float
) -> Evidence:
    """The evidence with one gain of these variances, whose interval reaches 0.1 to both sides."""
    changed = replace(evidence)
    gain = evidence.gains[0.5]["cpggan 4"]
    bounds = type(gain.plain.interval)(difference - 0.1, difference + 0.1)
    plain = Comparison(difference, bounds, 0.5, 3, 40, seed_variance, patient_variance)
    changed.__dict__["gains"] = {0.5: {"cpggan 4": gain._replace(plain=plain)}}
    return changed


def test_one_seed_says_what_it_cannot_tell(report: Report) -> None:
    assert report.evidence is not None
    config = report.evidence.config
    first = {
        iou: {name: Arm({0: arm.outcomes[0]}, config) for name, arm in arms.items()}
        for iou, arms in report.evidence.by_iou.items()
    }
    alone = replace(report.evidence, by_iou=first, planned=1)
    gains = list(gain_sections(alone, 0.1))[1]
    assert "1 detector seed" in gains.note
    assert [row[-1] for row in gains.rows] == ["-", "-"], "seeds needed are not known"
    undecided = seeds_section(alone, 0.1, "small")
    assert undecided is not None
    assert len(undecided.rows) > 1
    assert {row[-1] for row in undecided.rows} == {"unknown"}
    assert undecided.note.count("metsweep extend small --seeds 3") == 1, "one command is said once"


def test_verdict_names_the_arm_that_helps_or_what_would_settle_it(report: Report) -> None:
    assert report.evidence is not None
    assert report.markdown().splitlines()[4] == f"**{report.verdict}**"

    helps = with_gain(report.evidence, difference=0.5, seed_variance=0.01, patient_variance=0.0)
    gain = helps.gains[0.5]["cpggan 4"]
    helps.__dict__["gains"] = {0.5: {"cpggan 4": gain._replace(p=0.012)}}
    assert verdict(helps, 0.1, "small") == (
        "Test sensitivity over none at IoU 0.5: cpggan 4 helps, +0.500 [+0.400, +0.600] (95% interval), Holm-adjusted "
        "p = 0.012 (3 detector seeds, 40 patients with lesions)."
    )

    unclear = with_gain(report.evidence, seed_variance=0.01, patient_variance=0.0)
    gain = unclear.gains[0.5]["cpggan 4"]
    unclear.__dict__["gains"] = {0.5: {"cpggan 4": gain._replace(p=0.5)}}
    told = verdict(unclear, 0.1, "my.yaml")
    alone = "cpggan 4 +0.010 [-0.090, +0.110] (95% interval), Holm-adjusted p = 0.500"
    assert told.startswith(
        "No arm is shown to help or to harm test sensitivity at IoU 0.5. "
        f"Largest gain over none: {alone} (3 detector seeds, 40 patients with lesions)."
    )
    assert "`metsweep extend my.yaml --seeds" in told
    cpggan = unclear.gains[0.5]["cpggan 4"]
    less = cpggan._replace(plain=replace(cpggan.plain, difference=0.0))
    unclear.__dict__["gains"] = {0.5: {"less": less, "cpggan 4": cpggan, "cpggan 8": cpggan}}
    tied = verdict(unclear, 0.1, "my.yaml")
    assert f"Largest gains (tied) over none: {alone}; {alone.replace('4', '8', 1)} (3 detector seeds" in tied
    assert tied.count("metsweep extend") == 1
    assert verdict(None, 0.1, "small") == "No verdict yet: no arm is complete."


def test_console_shows_no_p_without_its_interval_and_is_short(report: Report) -> None:
    lines = report_lines(report)
    assert max(map(len, lines)) <= 120
    at = next(i for i, line in enumerate(lines) if line.startswith(" cpggan 4"))
    gain = report.table1.gain_texts(report.rows[1], 0.5)
    difference, _, bounds = gain[0].partition(" ")
    assert f"{difference} p {gain[1]}" in lines[at]
    assert bounds.replace(", ", ",") in lines[at + 1]
    assert len(lines) <= 30


def test_table_1_stays_a_table_on_a_standard_terminal(report: Report) -> None:
    text = io.StringIO()
    TextConsole(text, width=80).print(report.table1.table(80))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:2] == ["arm", "@"] for line in lines)
    assert sum(line.startswith((" none", " cpggan", " image2image")) for line in lines) == len(report.rows)
    assert "IoU 0.25: in 120 columns" in " ".join(text.getvalue().split())


def report_lines(report: Report) -> list[str]:
    """Table 1 as it goes into a file."""
    text = io.StringIO()
    TextConsole(text, width=120).print(report.table1.table())
    return text.getvalue().splitlines()


def test_one_figure_has_one_interval_in_every_table(report: Report) -> None:
    """A figure of an arm on the test split at IoU 0.5, in each table that shows it."""
    shown = {}
    for line in report.table1.section().lines[:3]:
        without_deviation = [re.sub(r" ± \S+", "", cell) for cell in line.cells[1:3]]
        shown[line.cells[0]] = without_deviation
    whole = section(report, "Slices, 3D lesions and chance, IoU 0.5").rows
    assert {row[0]: list(row[1:3]) for row in whole} == shown
    front = section(report, "Pareto front of sensitivity against false positives, IoU 0.5").rows
    assert {row[0]: list(row[3:5]) for row in front}.items() <= shown.items()
    gains = section(report, "Gain in sensitivity over none, IoU 0.5").rows[0]
    arm = next(line for line in report.table1.section().lines if line.cells[0] == gains[0]).cells
    assert (arm[3], arm[4]) == (gains[1], gains[3])
    for one in report.sections:
        brackets = any("[" in cell for row in one.rows for cell in row)
        kind = one.name.partition("_iou")[0]
        noted = [other.note for other in report.sections if other.name.partition("_iou")[0] == kind]
        assert not brackets or "95% intervals over detector seeds and patients" in noted[-1], (
            f"{one.title}: intervals of what?"
        )


def test_intervals_say_what_they_cover_in_every_format(report: Report, of_one_seed: Report, tmp_path: Path) -> None:
    """With one seed, nothing says that seeds were drawn; with several, Table 1 says so wherever it is shown."""
    both, alone = "95% intervals over detector seeds and patients.", "95% intervals over patients."
    for made, label, other in ((report, both, alone), (of_one_seed, alone, both)):
        folder = tmp_path / str(made is report)
        made.write(folder, ("md", "html", "tex"))
        for text in (
            made.markdown(),
            (folder / "report.html").read_text().partition("<h2>Details</h2>")[0],
            (folder / "table1.tex").read_text(),
            "\n".join(report_lines(made)).replace("\n", " "),
        ):
            plain = " ".join(text.replace("\\%", "%").split())
            assert label in plain
            assert other not in plain
    for name in ("report.md", "report.html"):
        text = (tmp_path / "False" / name).read_text()
        for wrong in ("over detector seeds and patients", "patients and detector seeds", "±", "1 detector seeds"):
            assert wrong not in text, name


def test_the_froc_picture_says_how_its_bands_differ_from_the_table(report: Report) -> None:
    froc = section(report, "Sensitivity at given false positives per slice, IoU 0.5")
    title = froc.draw().axes[0].get_title() if froc.draw else ""
    assert "bootstrap over 5 patients, for these trained detectors alone" in title
    assert "best on the validation split: percentile bootstrap over patients" in froc.note


def test_what_intervals_cover_depends_on_the_seeds() -> None:
    assert covers(1) == "Brackets: 95% intervals over patients."
    assert covers(2) == "Brackets: 95% intervals over detector seeds and patients."
