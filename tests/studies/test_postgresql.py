"""Sweeps on a PostgreSQL server: shared, killed, gone on with, and no password in sight."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import optuna
import postgresql
import psycopg
import pytest
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState
from side_by_side import Starter

from gconvae.cli import main as cli
from gconvae.datasets import CloudDataset, SuperpixelMNIST
from gconvae.options import ModelOptions, TrainingOptions
from gconvae.studies import experiment, storage, sweep
from gconvae.studies.database import Database
from gconvae.studies.database_url import hide, hide_in, with_driver
from gconvae.studies.experiment import Experiment
from gconvae.studies.search_space import Range
from gconvae.studies.settings import Sweep

SMALL = Experiment(
    model=ModelOptions(hidden=8, channels=(4, 4, 4)),
    training=TrainingOptions(epochs=2, batch_size=10, threads=1),
)
GRID = {"beta": [5.0, 0.1, 1.0]}
NOBODY_LISTENS = "postgresql://me:secret@127.0.0.1:9/sweeps"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    programs = postgresql.programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed: no initdb and pg_ctl")
    with postgresql.server(programs) as url:
        yield url


NUMBERS = itertools.count()


@pytest.fixture
def database(server: str) -> str:
    """URL of an empty database, with a password that the server does not ask for."""
    name = f"sweeps{next(NUMBERS)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server.replace('@', ':secret@')}/{name}"


@pytest.fixture(scope="module")
def eights() -> CloudDataset:
    return SuperpixelMNIST(8, "test")[:60]


def quick(data: Any, out: Path, **options: Any) -> Sweep:
    options = {"experiment": SMALL, "seeds": 1, "heartbeat": 1, "progress": False} | options
    return sweep.sweep(options.pop("space", {"beta": [1.0]}), data, out=out, **options)


def figures(found: Sweep) -> list[tuple[Any, ...]]:
    return [(dict(s.options), s.values, s.floors, s.failure) for s in found.settings]


def trials(url: str) -> list[FrozenTrial]:
    database = Database(with_driver(url), heartbeat=1)
    try:
        (study,) = optuna.get_all_study_summaries(database)
        return optuna.load_study(study_name=study.study_name, storage=database).trials
    finally:
        database.close()


# workers


def trainings(file: Path) -> list[tuple[float, int, bool]]:
    """Beta and seed of each training of the worker, and whether it went on with one."""
    rows = [line.split() for line in file.read_text().splitlines()]
    return [(float(beta), int(seed), resumed == "True") for beta, seed, resumed in rows]


# of 6 steps an epoch, 12 a training, in the second epoch of the second seed of its first trial
IN_ITS_SECOND_TRAINING = 21


def test_of_two_workers_one_is_killed_and_nothing_is_lost_or_done_twice(
    database: str,
    eights: CloudDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: Starter,
) -> None:
    undisturbed = quick(eights, tmp_path / "alone", space=GRID, seeds=2)
    fit, ours = experiment.fit, []
    options: dict[str, Any] = {"space": GRID, "seeds": 2, "storage": database, "heartbeat": 2}

    def noted(*arguments: Any, **given: Any) -> Any:
        ours.append((given["beta"], given["seed"], given["resume"]))
        while not (tmp_path / "theirs").exists():
            assert killed.runs()
            time.sleep(0.01)
        (tmp_path / "ours").touch()
        return fit(*arguments, **given)

    monkeypatch.setattr(experiment, "fit", noted)
    places = {"place": str(tmp_path), "out": str(tmp_path / "shared"), "storage": database}
    last = IN_ITS_SECOND_TRAINING
    # its first training waits until ours has begun
    killed = start.begin(
        1, "shared_work.sweep", **places, betas=GRID["beta"], last=last, heartbeat=2
    )
    found = quick(eights, tmp_path / "shared", **options)
    assert killed.wait().codes == [-signal.SIGKILL]
    theirs = trainings(tmp_path / "theirs")
    beta = theirs[0][0]
    assert theirs == [(beta, 0, False), (beta, 1, False)]
    # the finished half of the killed trial is taken as it is, the other one is gone on with
    grid = {(beta, seed) for beta in GRID["beta"] for seed in (0, 1)}
    assert sorted(ours) == sorted(
        [(*pair, False) for pair in grid - {(beta, 0), (beta, 1)}] + [(beta, 1, True)]
    )
    runs = list((tmp_path / "shared" / "runs").iterdir())
    assert len(runs) == 6
    assert all((run / "model.json").exists() for run in runs)
    with storage.quiet_optuna():
        tried = trials(database)
    kept = [trial for trial in tried if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs["options"]["beta"] for trial in kept) == sorted(GRID["beta"])
    assert {trial.state for trial in tried} == {TrialState.COMPLETE, TrialState.FAIL}

    # no kill changed a bit, and one more worker, started when all is done, only reads
    assert figures(found) == figures(undisturbed)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared/runs").rglob("*")}
    assert quick(eights, tmp_path / "shared", **options) == found
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared/runs").rglob("*")}
    assert after == before


def test_workers_that_start_at_the_same_moment_make_the_tables_once(database: str) -> None:
    number = 12
    barrier = Barrier(number)

    def opened(_: int) -> int:
        barrier.wait()
        with storage.open_study("one", database, heartbeat=10) as study:
            return study._study_id

    with storage.quiet_optuna(), ThreadPoolExecutor(number) as pool:
        assert set(pool.map(opened, range(number))) == {1}


def test_a_server_of_another_language_is_understood(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    class Late(Database):
        """Finds that another process made the tables a moment ago."""

        def __init__(self, *arguments: Any) -> None:
            tries.append(1)
            if len(tries) < 2:
                cause = psycopg.errors.UniqueViolation("Schlüssel existiert bereits")
                raise sqlalchemy.exc.IntegrityError("CREATE TABLE", {}, cause)
            super().__init__(*arguments)

    monkeypatch.setattr("gconvae.studies.database.Database", Late)
    with storage.quiet_optuna(), storage.open_study("one", database, heartbeat=10):
        assert len(tries) == 2


def test_a_range_gives_the_same_bits_as_on_sqlite(
    database: str, eights: CloudDataset, tmp_path: Path
) -> None:
    options = {"space": {"beta": Range(0.1, 1.0), "loss": ["third_axis"]}, "trials": 2}
    found = quick(eights, tmp_path / "shared", storage=database, **options)
    assert figures(found) == figures(quick(eights, tmp_path / "alone", **options))


# machines that share no folder


def test_without_a_common_folder_the_machine_that_has_a_run_is_named(
    database: str, eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "node7")
    first = quick(eights, tmp_path / "first", storage=database)
    monkeypatch.setattr("platform.node", lambda: "node8")
    # on one machine, or where both folders are mounted, it is found where it is
    second = quick(eights, tmp_path / "second", storage=database)
    assert second == first
    shutil.rmtree(tmp_path / "first" / "runs")
    third = quick(eights, tmp_path / "second", storage=database)
    (setting,) = third.settings
    assert figures(third) == figures(first)
    assert setting.host == "node7"
    assert setting.folders == first.settings[0].folders
    assert str(third).endswith("(run folders on node7)")
    saved = json.loads((tmp_path / "second" / "sweep.json").read_text())
    assert saved["settings"][0]["host"] == "node7"
    assert list((tmp_path / "second" / "runs").iterdir()) == []


def test_a_common_folder_at_another_place_is_seen(
    database: str, eights: CloudDataset, tmp_path: Path
) -> None:
    quick(eights, tmp_path / "first", storage=database)
    (tmp_path / "first").rename(tmp_path / "mounted")
    (setting,) = quick(eights, tmp_path / "mounted", storage=database).settings
    assert setting.host is None
    assert setting.folders[0].parents[1] == tmp_path / "mounted"


# signs of life


def test_signs_of_life_are_in_one_time_zone(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for zone in ("Asia/Tokyo", "America/Los_Angeles"):
        monkeypatch.setenv("PGTZ", zone)
        with storage.quiet_optuna():
            found = Database(with_driver(database), heartbeat=10)
        with found.engine.connect() as connection:
            shown.append(connection.execute(sqlalchemy.text("SHOW TIME ZONE")).scalar())
        found.close()
    assert shown == ["UTC", "UTC"]


def test_a_lost_database_stops_no_training_and_is_told_in_one_line(
    database: str, eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Experiment.run

    def cut_off(*arguments: Any, **options: Any) -> Any:
        server, _, name = database.rpartition("/")
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
        return run(*arguments, **options)

    monkeypatch.setattr(Experiment, "run", cut_off)
    with pytest.raises(ConnectionError, match=r"started again goes on: [^\n]+$") as raised:
        quick(eights, tmp_path / "sweep", storage=database)
    assert "secret" not in str(raised.value)
    (folder,) = (tmp_path / "sweep" / "runs").iterdir()
    assert (folder / "model.json").exists()


# URLs and passwords


def test_no_password_is_printed_or_kept(
    database: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "beta=1", "--storage", database, "--out", str(tmp_path / "sweep")]
    words += ["--seeds", "1", "--epochs", "1", "--hidden", "8", "--channels", "[2]"]
    assert cli.main([*words, "--data", str(_few_clouds(tmp_path))]) == 0
    assert "secret" not in "".join(capfd.readouterr())
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "sweep" / "sweep.json" in kept
    assert [path for path in kept if b"secret" in path.read_bytes()] == []
    assert not (tmp_path / "sweep" / "sweep.db").exists()


def _few_clouds(place: Path) -> Path:
    from gconvae import datasets

    return datasets.to_file(SuperpixelMNIST(8, "test")[:40], place / "clouds.npz")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me@server/db", "postgresql://me@server/db"),
        ("postgresql://me:secret@server:5/db", "postgresql://me:***@server:5/db"),
        ("postgresql+psycopg://me:s/ecret@h", "postgresql+psycopg://me:***@h"),
        ("postgresql://:secret@server/db", "postgresql://:***@server/db"),
        ("postgresql://h/db?user=me&password=secret", "postgresql://h/db?user=me&password=***"),
        ("postgresql:me:secret@server", "postgresql:me:secret@server"),
        ("postgresql://me:sec@ret@server", "postgresql://me:***@server"),
        ("sqlite:////home/a:b/sweep.db", "sqlite:////home/a:b/sweep.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert hide(url) == shown


def test_a_message_shows_neither_form_of_a_password() -> None:
    url = "postgresql://me:a%21b@server/db?sslpassword=other"
    assert hide_in("a%21b,\n a!b, other", url) == "***, ***, ***"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_plain_url_takes_psycopg_3(scheme: str) -> None:
    assert with_driver(f"{scheme}://me:a@h/db") == "postgresql+psycopg://me:a@h/db"
    assert with_driver("postgresql+psycopg2://h/db") == "postgresql+psycopg2://h/db"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (NOBODY_LISTENS, "connection .*refused"),
        ("postgresql://me:secret@127.0.0.1:port/sweeps", "port"),
        ("postgresql://me:se@cret@127.0.0.1/sweeps", "%40 for an @"),
        ("postgresql://127.0.0.1:9/sweeps?password=secret&wrong=1", "wrong"),
    ],
)
def test_a_database_that_cannot_be_reached_is_refused_in_one_line(
    eights: CloudDataset, tmp_path: Path, url: str, reason: str
) -> None:
    with pytest.raises(ValueError, match="storage must") as raised:
        quick(eights, tmp_path / "sweep", storage=url)
    message = str(raised.value)
    assert "\n" not in message
    assert reason.split()[0] in message
    assert "secret" not in message
    assert "cret@" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_missing_database_is_named(database: str, eights: CloudDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'storage must.*:\*\*\*@.*"absent" does not exist'):
        quick(eights, tmp_path / "sweep", storage=f"{database.rpartition('/')[0]}/absent")


def test_without_the_driver_the_extra_is_named(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "gconvae\[postgresql\]"'):
        quick(eights, tmp_path / "sweep", storage=NOBODY_LISTENS)
    assert list(tmp_path.iterdir()) == []
