"""SQL, lints and the report name an arm that leaks little because it learned nothing; a control is not named."""

from __future__ import annotations

import contextlib

from runtime.cli.main import main
from runtime.database.connect import connect
from runtime.database.questions import questions
from runtime.database.schema import SCHEMA
from tests.conftest import Done


def test_a_diffusion_arm_of_a_few_steps_is_found_and_a_control_beside_it_is_none(idle: Done) -> None:
    learned = dict(idle.rows("SELECT arm, bool_and(learned) FROM comparison WHERE NOT control GROUP BY arm"))
    assert learned == {"undefended": True, "private": True, "coreset": True, "noise": False}
    assert idle.rows("SELECT arm FROM comparison WHERE control") == [("untuned",)]
    doubted = idle.rows(questions()["doubtful"].text.rstrip(";"))
    assert [row[3] for row in doubted if "learned next to nothing" in row[5]] == ["noise#0"]
    ((told,),) = idle.rows("SELECT message FROM lint WHERE code = 'L28'")
    assert told.startswith("noise#0 learned next to nothing: accuracy ")
    best = {row[4] for row in idle.rows(questions()["pareto"].text.rstrip(";"))}
    assert best
    assert not best & {"noise#0", "untuned#0"}


def test_every_training_leaves_a_thinned_curve_of_its_losses_that_a_chart_draws(idle: Done) -> None:
    found = idle.rows("SELECT arm, stage, part, count(DISTINCT shadow), count(*), max(step) FROM training GROUP BY ALL")
    assert {arm for arm, stage, *_ in found if stage == "model"} == {"undefended", "private", "coreset", "noise", "untuned"}
    assert [shadows for arm, _, part, shadows, *_ in found if arm == "noise" and part == "diffusion"] == [8]
    assert all(points <= 50 * shadows for _, _, _, shadows, points, _ in found)
    ((first, last),) = idle.rows("SELECT avg(loss) FILTER (step < 10), arg_max(loss, step) FROM training WHERE arm = 'undefended'")
    assert last < first
    picture = idle.folder / "training.svg"
    assert main(["chart", "training", "-o", str(picture), "--db", str(idle.db)]) == 0
    assert "untuned (control)" in picture.read_text()


def test_a_report_says_in_a_sentence_what_learned_nothing(idle: Done) -> None:
    page = idle.folder / "report.html"
    assert main(["report", "-o", str(page), "--db", str(idle.db), "--store", str(idle.store)]) == 0
    assert "noise#0 learned next to nothing" in page.read_text()


def test_chance_is_the_share_of_the_commonest_class_of_the_test_images(idle: Done) -> None:
    ((chance, n),) = idle.rows("SELECT DISTINCT value, n FROM result WHERE metric = 'chance_accuracy'")
    assert (n, round(chance * n)) == (360, chance * n)
    assert 0.1 <= chance < 0.15


TRIALS = (
    # trial, paradigm, method, images, accuracy, its ends, learned: six classes of equal share
    ("undefended#0", "undefended", "undefended", None, 0.9, 0.88, 0.92, True),
    ("random_10#0", "coreset", "random", 60, 0.6, 0.567, 0.63, True),
    ("random_half#0", "coreset", "random", 500, 0.85, 0.8, 0.9, True),
    ("at_chance#0", "diffusion", "conditional", 1000, 0.18, 0.15, 0.21, False),
    ("below_half#0", "distillation", "dm", 60, 0.34, 0.32, 0.36, False),
    ("reaches_half#0", "distillation", "dm", 60, 0.36, 0.34, 0.38, True),
    ("smaller_than_any#0", "distillation", "dm", 10, 0.34, 0.32, 0.36, True),
    ("larger_than_half#0", "diffusion", "conditional", 500, 0.45, 0.43, 0.47, False),
    ("no_set#0", "dp_sgd", "dp_sgd", None, 0.3, 0.28, 0.32, True),
    ("no_accuracy#0", "imported", "imported", None, None, None, None, None),
)


def test_accuracy_is_compared_with_chance_and_with_random_sets_of_no_more_images() -> None:
    with contextlib.closing(connect()) as connection:
        connection.execute(SCHEMA).fetchall()
        run = "INSERT INTO base.run (origin, run, study, profile, headline) VALUES ('o', 'r', 's', '', '{\"fpr\": 0.1}')"
        connection.execute(run)
        for trial, paradigm, method, images, *accuracy, _ in TRIALS:
            of_trial = "origin, run, trial, paradigm, method, replicate, data, answer) VALUES ('o', 'r', ?, ?, ?, 0, 'd', ?)"
            connection.execute(f"INSERT INTO base.trial ({of_trial}", [trial, paradigm, method, trial])
            figures = {"test_accuracy": accuracy, "chance_accuracy": [1 / 6, None, None], "images": [images, None, None]}
            for name, ends in figures.items():
                columns = "origin, task, metric, value, low, high, canaries, attack"
                connection.execute(f"INSERT INTO base.metric ({columns}) VALUES ('o', ?, ?, ?, ?, ?, '', '')", [trial, name, *ends])
        found = dict(connection.execute("SELECT trial, learned FROM comparison").fetchall())
    assert found == {trial: learned for trial, *_, learned in TRIALS}
