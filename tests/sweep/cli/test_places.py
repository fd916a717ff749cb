"""A study is found from any working directory, and its name never opens another cohort."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from search_spaces.study import load_study
from sweep.settings import Settings
from sweep.store import Store
from sweep.studies.opened import open_study
from sweep.studies.optuna_study import create_optuna_study, open_storage
from sweep.studies.records import LaunchOptions, StudyRecord, relaunchable
from tests.sweep.cli.conftest import Metsweep
from tests.sweep.plans import make_plan
from tests.trainers.data.phantom import make_cohort
from trainers.detector.architecture import NetworkFile
from trainers.exceptions import ConfigError


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    request.getfixturevalue("metsweep")
    monkeypatch.setenv("METSWEEP_STORE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another working directory, in which a folder called `cohort` is another cohort."""
    make_cohort(tmp_path / "elsewhere" / "cohort", patients=4)
    return tmp_path / "elsewhere"


def launch(study: str, store: Store, *overrides: str, cohort: str | None = None) -> None:
    """What a launch leaves in the store before its work."""
    given = LaunchOptions(cohort=cohort, overrides=overrides)
    opened = open_study(study, given, Settings.from_environment(store.uri), print, launched=False)
    opened.record.keep_study(opened.study)
    opened.record.keep_needs(make_plan(opened.study))
    opened.remember_options()


@pytest.mark.parametrize("relative", ["of the study", "--cohort", "--set"])
def test_a_relative_cohort_is_found_from_elsewhere(
    metsweep: Metsweep,
    store: Store,
    cohort: Path,
    fidelity: Path,
    elsewhere: Path,
    relative: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(cohort, "cohort")
    own = str(Path.cwd() / "cohort")
    values = {"name": "mine", "cohort": "cohort", "fidelity": str(fidelity), "arms": [{"variant": "none"}]}
    if relative != "of the study":
        values["cohort"] = "nowhere"
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    file = str(Path("mine.yaml").absolute())
    launch(
        "mine.yaml",
        store,
        *(["cohort=cohort"] if relative == "--set" else []),
        cohort="cohort" if relative == "--cohort" else None,
    )
    for study, folder in (("mine", elsewhere), (file, elsewhere), ("mine", elsewhere.parent)):
        monkeypatch.chdir(folder)
        ended = metsweep("plan", study)
        assert ended.code == 0, ended.err
        assert f"cohort {own}, " in ended.out
        assert "Changed since" not in ended.out
    assert metsweep("status", "mine").code == 0
    # An option that is given counts from here.
    monkeypatch.chdir(elsewhere)
    given = ("--set", "cohort=cohort") if relative == "--set" else ("--cohort", "cohort")
    assert "cohort cohort, " in metsweep("plan", file, *given).out


def written(network: Path, width: float) -> None:
    network.parent.mkdir(exist_ok=True)
    backbone = [[-1, 1, "Conv", [64, 3, stride]] for stride in (4, 2, 4)]
    content = {"scales": {"n": [0.5, width, 1024]}, "backbone": backbone, "head": [[[0, 1, 2], 1, "Detect", ["nc"]]]}
    network.write_text(yaml.safe_dump(content))


REVIEW = "slice_id,decision,source\nsynthetic-000001-0,keep,cpggan-0123456789ab\n"


@pytest.mark.parametrize("given", ["of the study", "keys", "sections"])
def test_other_relative_places_are_found_from_elsewhere(
    metsweep: Metsweep,
    store: Store,
    cohort: Path,
    fidelity: Path,
    elsewhere: Path,
    given: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(fidelity, "laptop.yaml")
    Path("rev.csv").write_text(REVIEW)
    written(Path("net8n.yaml"), 0.25)
    written(elsewhere / "net8n.yaml", 0.5)
    values = {"name": "mine", "cohort": str(cohort), "fidelity": "laptop.yaml", "arms": [{"variant": "none"}]}
    places = {"synthesis": {"review": "rev.csv"}, "detector": {"model": "net8n.yaml"}}
    overrides = {
        "of the study": (),
        "keys": ("synthesis.review=rev.csv", "detector.model=net8n.yaml"),
        "sections": ("synthesis={review: rev.csv, max_zoom: 0.05}", "detector={model: net8n.yaml}"),
    }[given]
    Path("mine.yaml").write_text(yaml.safe_dump(values | ({} if overrides else places)))
    file, here = str(Path("mine.yaml").absolute()), Path.cwd()
    launch("mine.yaml", store, *overrides)
    for folder in (elsewhere, elsewhere.parent, here):
        monkeypatch.chdir(folder)
        study = open_study(file, LaunchOptions(), Settings.from_environment(store.uri), print).study
        assert os.path.abspath(study.synthesis.review or "") == str(here / "rev.csv")
        network = study.detector.model
        assert isinstance(network, NetworkFile)
        assert network.content["scales"] == {"n": [0.5, 0.25, 1024]}
        assert metsweep("status", file).code == 0
    # A launch from elsewhere keeps them.
    monkeypatch.chdir(elsewhere)
    launch(file, store, *(StudyRecord(store, "mine").options().overrides))
    monkeypatch.chdir(elsewhere.parent)
    told = metsweep("status", file)
    assert told.code == 0
    assert f"Using the fidelity of the last launch: {here / 'laptop.yaml'}\n" in told.err
    # A project that has moved is found where it is.
    shutil.copytree(here, elsewhere / "moved")
    Path(here, "laptop.yaml").unlink()
    monkeypatch.chdir(elsewhere / "moved")
    assert metsweep("status", "mine.yaml").code == 0


def test_a_shipped_study_is_found_from_elsewhere(
    metsweep: Metsweep, store: Store, cohort: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cohort, "demo-cohort")
    own = Path.cwd() / "demo-cohort"
    launch("quickstart", store)
    (elsewhere / "cohort").rename(elsewhere / "demo-cohort")
    monkeypatch.chdir(elsewhere)
    ended = metsweep("status", "quickstart", "--json")
    assert ended.code == 0, ended.err
    assert ended.err == f"Using the cohort of the last launch: {own}\n"


def test_a_study_file_that_names_another_cohort_now_has_that(
    metsweep: Metsweep, store: Store, cohort: Path, fidelity: Path
) -> None:
    shutil.copytree(cohort, "cohort")
    values = {"name": "mine", "cohort": "cohort", "fidelity": str(fidelity), "arms": [{"variant": "none"}]}
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    launch("mine.yaml", store)
    Path("cohort").rename("other")
    Path("mine.yaml").write_text(yaml.safe_dump(values | {"cohort": "other"}))
    assert "cohort other, " in metsweep("plan", "mine.yaml").out


def test_a_relative_cohort_of_an_older_version_is_read_where_it_is_the_same(
    metsweep: Metsweep, store: Store, cohort: Path, fidelity: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cohort, "cohort")
    here = Path.cwd()
    values = {"name": "mine", "cohort": "cohort", "fidelity": str(fidelity), "arms": [{"variant": "none"}]}
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    study = load_study("mine.yaml")
    record = StudyRecord(store, "mine")
    record.keep_needs(make_plan(study))
    values = relaunchable(study) | {"cohort": "cohort"}
    store.write_document("studies/mine/study.yaml", values)
    assert metsweep("status", "mine").code == 0
    for folder in (elsewhere, elsewhere.parent):
        monkeypatch.chdir(folder)
        ended = metsweep("status", "mine")
        assert ended.code == 2
        assert "noted its cohort as 'cohort' without saying where" in ended.err
        assert "Give --cohort" in ended.err
        assert metsweep("status", "mine", "--cohort", here / "cohort").code == 0
    with pytest.raises(ConfigError):
        open_study("mine", LaunchOptions(), Settings.from_environment(store.uri), print)


def test_the_database_of_a_search_is_found_from_elsewhere(
    metsweep: Metsweep, store: Store, cohort: Path, fidelity: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "name": "mine", "cohort": str(cohort), "fidelity": str(fidelity),
        "arms": [{"variant": "none"}, {"variant": "cpggan", "counts": [4]}],
        "search": {"method": "random", "trials": 5}, "space": {"detector.learning_rate": {"float": [1e-4, 1e-3]}},
    }  # fmt: skip
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setenv("OPTUNA_STORAGE", "sqlite:///own.db")
    launch("mine.yaml", store)
    study, file = load_study("mine.yaml"), Path.cwd() / "own.db"
    made = create_optuna_study(study, open_storage(f"sqlite:///{file}"))
    made.ask({name: one.distribution() for name, one in study.space.items()})
    monkeypatch.delenv("OPTUNA_STORAGE")
    monkeypatch.chdir(elsewhere)
    told = f"Using the OPTUNA_STORAGE of the last launch: sqlite:///{file}"
    for command in (
        ("status", "mine", "--json"),
        ("plan", "mine", "--json"),
        ("report", "mine", "--format", "console"),
    ):
        ended = metsweep(*command)
        assert ended.code == 0, ended.err
        assert told in ended.err.splitlines()
    assert json.loads(metsweep("status", "mine", "--json").out)["cells_to_draw"] == 4
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{file}")
    assert "OPTUNA_STORAGE" not in metsweep("status", "mine").err
    monkeypatch.delenv("OPTUNA_STORAGE")
    file.unlink()
    ended = metsweep("status", "mine", "--json")
    assert f"Optuna's database of the last launch does not exist: sqlite:///{file}. Cells" in ended.err
    assert json.loads(ended.out)["cells_to_draw"] == 5


def test_a_uri_that_may_hold_a_password_is_not_kept(
    store: Store, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://me:pa55word@host/db")
    launch(str(study_file), store)
    assert StudyRecord(store, "small").options().optuna is None
    assert not [path for path in Path(store.uri).rglob("*") if path.is_file() and b"pa55word" in path.read_bytes()]
