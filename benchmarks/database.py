"""Time and size of a large database: `python benchmarks/database.py [--trials 5000] [--metrics 200] [--scores 2000]`.

Fills an index with ten studies of several runs each (by default a million metric rows and ten million scores in all), then
measures publishing and each view, macro and named question on the published file, cold (a new connection) and warm. CPU
seconds, of the cold one, are of all threads: what a busy machine leaves comparable.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb

from runtime.database.connect import execute
from runtime.database.index import Index
from runtime.database.questions import questions
from runtime.database.read import open_read_only
from runtime.database.schema import list_public

STUDIES, RUNS, SHADOWS = 10, 5, 16

FILL = """
INSERT INTO base.run SELECT '{origin}', format('2026{{:04d}}T000000.0-s{{}}', r, s), 's' || s, 'Is it private?', '', 's.yaml',
  '', '[]',
  TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', 'done', '{{"fpr": 0.01}}', '{{}}', 'abc', 'def', '[]', '[]'
  FROM range({studies}) AS _(s), range({runs}) AS _(r);
INSERT INTO base.trial (origin, run, trial, arm, paradigm, method, label, axes, replicate, data, answer)
  SELECT '{origin}', run, format('arm{{}}[fraction={{}}]#0', t % 7, t), 'arm' || (t % 7),
  ['undefended', 'dp_sgd', 'coreset', 'distillation', 'data_free_kd', 'diffusion'][1 + t % 6], 'm' || (t % 5),
  format('arm{{}} {{}}', t % 7, t), format('{{{{"fraction": {{}}}}}}', t), 0, 'digits', format('{{}}-{{}}', study, t)
  FROM base.run, range({trials} // {studies}) AS _(t);
INSERT INTO base.stage SELECT '{origin}', run, trial, answer || '-model', shadow, 'model' FROM base.trial,
  range({shadows}) AS _(shadow);
INSERT INTO base.task SELECT '{origin}', run, answer, 'attack', 'AttackTrial', trial, '[]', NULL FROM base.trial;
INSERT INTO base.task SELECT '{origin}', run, answer || '-model', 'train', 'TrainClassifier', trial, '[]', NULL FROM base.trial;
INSERT INTO base.outcome (origin, task, started, seconds, host, device, threads, peak_memory_mb, "commit", source_digest, null_ok,
  flags, notes) SELECT DISTINCT '{origin}', task, TIMESTAMP '2026-01-01', 1.5, 'h', 'cpu', 1, 100.0, 'abc', 'def', true, '',
  CASE kind WHEN 'attack' THEN to_json({{'readings': list_transform(range({metrics} // 5), lambda i: {{'release': 'final_model',
    'attack': 'lira', 'variant': 'v' || (i // 4), 'canaries': ['mislabeled', 'clean'][1 + i % 2], 'fpr': 0.01, 'tpr': 0.5,
    'members': 1024, 'non_members': 1024, 'allowed': 10, 'false_positives': 10, 'false_positive_canaries': 9,
    'false_positive_shadows': 6, 'threshold': 1.5, 'rule': 'count'}})}}) ELSE '{{}}' END
  FROM base.task;
INSERT INTO base.attempt SELECT '{origin}', task, 1, 'done', '', '', 'log.txt', started, seconds, host, device FROM base.outcome;
CREATE TEMP TABLE answer AS SELECT DISTINCT answer AS task FROM base.trial;
INSERT INTO base.metric SELECT '{origin}', task, unnest(['test_accuracy', 'seconds', 'epsilon', 'images_seen']), random(), 0.1,
  0.9, 16,
  '', '', '', '', '' FROM answer;
INSERT INTO base.metric SELECT '{origin}', task, 'headline', random(), 0.1, 0.9, 1024, '', 'mislabeled', 'lira', 'v0', 'final_model'
  FROM answer;
INSERT INTO base.metric SELECT '{origin}', task,
  ['auc', 'tpr@fpr=0.01', 'tpr@fpr=0.1', 'null_auc', 'epsilon_lower_steinke'][1 + m % 5], random(), 0.1, 0.9, 1024, '',
  ['mislabeled', 'clean'][1 + (m // 5) % 2], 'lira', 'v' || (m // 10), 'final_model' FROM answer, range({metrics} - 5) AS _(m);
INSERT INTO base.canary SELECT '{origin}', task, c, ['mislabeled', 'clean'][1 + c % 2], 'clean', 1, 2, c, random()
  FROM answer, range({scores} // {shadows}) AS _(c);
INSERT INTO base.risk SELECT '{origin}', task, 'final_model', 'lira', 'v0', c, random(), 0.1, 0.9, random()
  FROM answer, range({scores} // {shadows}) AS _(c);
INSERT INTO base.roc SELECT '{origin}', task, 'final_model', 'lira', 'v0', g, p / 100, p / 100, 0.0, 1.0
  FROM answer, (VALUES ('mislabeled'), ('clean')) AS _(g), range(100) AS _(p);
INSERT INTO base.score SELECT '{origin}', task, 'final_model', 'lira', 'v0', c, s, (c + s) % 2 = 0, random()
  FROM answer, range({scores} // {shadows}) AS _(c), range({shadows}) AS _(s);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--metrics", type=int, default=200, help="metric rows of a trial")
    parser.add_argument("--scores", type=int, default=2000, help="scores of a trial")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "results.duckdb"
        store = Path(folder) / "store"
        store.mkdir()
        with contextlib.closing(Index.open(store)) as index:
            filled = FILL.format(origin=index.origin, studies=STUDIES, runs=RUNS, shadows=SHADOWS, **vars(args))
        with duckdb.connect(str(store / "index.duckdb")) as connection:
            execute(connection, filled)
            counted = "SELECT (SELECT count(*) FROM base.metric), (SELECT count(*) FROM base.score)"
            ((metrics, scores),) = execute(connection, counted)
        with contextlib.closing(Index.open(store)) as index:
            print(f"{STUDIES} studies, {STUDIES * RUNS} runs, {args.trials} trials, {metrics:,} metric rows, {scores:,} scores\n")
            for name in ("publish", "publish again"):
                start, busy = time.perf_counter(), time.process_time()
                index.publish(database)
                print(f"{name:<28} {time.perf_counter() - start:8.2f} s, CPU {time.process_time() - busy:.2f} s")
        print(f"{'size':<28} {database.stat().st_size / 1e6:8.0f} MB\n")
        print(f"{'':<28} {'rows':>9} {'cold s':>8} {'CPU s':>8} {'warm s':>8}")
        asked = {name: f"FROM {name}" for name, _ in list_public("view")}
        asked |= {
            "comparison of one study": "FROM comparison WHERE study = 's3'",
            "result of one metric": "FROM result WHERE metric = 'auc'",
            "matched(0.5)": "FROM matched(0.5)",
            "compare('auc')": "FROM compare('auc')",
            "roc_at": "FROM roc_at('arm0[fraction=0]#0', 'lira')",
            "result_of": "FROM result_of((SELECT min(run) FROM run))",
        }
        asked |= {f"@{name}": found.text.rstrip(";") for name, found in questions().items()}
        for name, text in asked.items():
            took = []
            with open_read_only(database) as ask:
                for _ in range(2):
                    start, busy = time.perf_counter(), time.process_time()
                    # Not fetched, since Python's own rows are not the database's time; hashed, since a count alone reads no column.
                    ((rows, _),) = ask(f"SELECT count(*), bit_xor(hash(whole)) FROM ({text}) AS whole")[1]
                    took.append((time.perf_counter() - start, time.process_time() - busy))
            (cold, busy), (warm, _) = took
            print(f"{name:<28} {rows:>9,} {cold:>8.2f} {busy:>8.2f} {warm:>8.2f}")


if __name__ == "__main__":
    main()
