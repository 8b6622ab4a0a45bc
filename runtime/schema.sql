-- The index of a store. Tables in `base` are ours to change; the views in `main` are the public interface.
-- No keys and no indexes: tables are append-only, and replay bugs gather around indexes.

CREATE SCHEMA base;

CREATE TABLE base.meta (schema VARCHAR, made_by VARCHAR);   -- digest of this file
CREATE TABLE base.run (
  run VARCHAR, study VARCHAR, question VARCHAR, profile VARCHAR, spec VARCHAR, spec_text VARCHAR, argv JSON, started TIMESTAMP,
  ended TIMESTAMP, status VARCHAR, headline JSON, versions JSON, "commit" VARCHAR, source_digest VARCHAR, claims JSON, lints JSON);
CREATE TABLE base.trial (
  run VARCHAR, trial VARCHAR, arm VARCHAR, paradigm VARCHAR, method VARCHAR, label VARCHAR, axes JSON, replicate INTEGER,
  data VARCHAR, answer VARCHAR);
CREATE TABLE base.stage (run VARCHAR, trial VARCHAR, task VARCHAR, shadow INTEGER, stage VARCHAR);
CREATE TABLE base.task (run VARCHAR, task VARCHAR, kind VARCHAR, operation VARCHAR, address VARCHAR, needs JSON, blocked_by VARCHAR);
CREATE TABLE base.outcome (
  task VARCHAR, started TIMESTAMP, seconds DOUBLE, host VARCHAR, device VARCHAR, threads INTEGER, peak_memory_mb DOUBLE,
  "commit" VARCHAR, source_digest VARCHAR, null_ok BOOLEAN, flags VARCHAR, notes JSON);
CREATE TABLE base.metric (
  task VARCHAR, metric VARCHAR, value DOUBLE, low DOUBLE, high DOUBLE, n BIGINT, note VARCHAR, canaries VARCHAR, attack VARCHAR,
  variant VARCHAR, release VARCHAR);
CREATE TABLE base.attempt (
  task VARCHAR, attempt INTEGER, status VARCHAR, error_kind VARCHAR, error VARCHAR, log VARCHAR, started TIMESTAMP, seconds DOUBLE,
  host VARCHAR, device VARCHAR);
CREATE TABLE base.roc (
  task VARCHAR, release VARCHAR, attack VARCHAR, variant VARCHAR, canaries VARCHAR, fpr DOUBLE, tpr DOUBLE);
CREATE TABLE base.canary (
  task VARCHAR, canary INTEGER, canaries VARCHAR, kind VARCHAR, label INTEGER, true_label INTEGER, sample INTEGER);
CREATE TABLE base.risk (
  task VARCHAR, release VARCHAR, attack VARCHAR, variant VARCHAR, canary INTEGER, tpr DOUBLE, low DOUBLE, high DOUBLE);
CREATE TABLE base.score (
  task VARCHAR, release VARCHAR, attack VARCHAR, variant VARCHAR, canary INTEGER, shadow INTEGER, member BOOLEAN, score DOUBLE);

-- The run that counts for a study under a profile is its latest; names of runs begin with their time.
CREATE VIEW base.latest AS
  SELECT study, profile, max(run) AS run FROM base.run GROUP BY study, profile;
CREATE VIEW base.current_trial AS
  SELECT latest.study, latest.profile, CAST(run.headline->>'$.fpr' AS DOUBLE) AS fpr, trial.*
  FROM base.trial JOIN base.latest USING (run) JOIN base.run USING (run);

CREATE VIEW run AS
  SELECT run, study, profile, status, started, ended, spec, argv, "commit", source_digest, versions, headline, question, spec_text
  FROM base.run;
COMMENT ON VIEW run IS 'One row per run: when, from which spec text, with which versions of code and libraries.';

CREATE VIEW attempt AS SELECT * FROM base.attempt;
COMMENT ON VIEW attempt IS 'One row per attempt at a task, with its outcome, error and log (a path in the store).';

CREATE VIEW task AS
  WITH current AS (SELECT DISTINCT ON (task) * FROM base.task JOIN base.latest USING (run) ORDER BY task, run DESC),
       last_attempt AS (SELECT DISTINCT ON (task) * FROM base.attempt ORDER BY task, attempt DESC)
  SELECT current.task, current.kind, current.operation, current.address,
    CASE WHEN outcome.task IS NOT NULL THEN 'done'
         WHEN last_attempt.status = 'failed' THEN 'failed'
         WHEN current.blocked_by IS NOT NULL THEN 'blocked'
         ELSE 'missing' END AS status,
    outcome.seconds, outcome.device, outcome.host, outcome.peak_memory_mb, outcome.started,
    CASE WHEN outcome.task IS NULL THEN coalesce(last_attempt.error, current.blocked_by) END AS error,
    coalesce(last_attempt.attempt, 0) AS attempts, last_attempt.log, outcome."commit", outcome.source_digest, current.needs
  FROM current LEFT JOIN base.outcome AS outcome USING (task) LEFT JOIN last_attempt USING (task);
COMMENT ON VIEW task IS 'One row per task of the latest run of each study: its status (done, failed, blocked, missing), cost and error.';

CREATE VIEW result AS
  SELECT trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, trial.axes, trial.replicate,
    metric.canaries, metric.attack, metric.variant, metric.release, metric.metric, metric.value, metric.low, metric.high, metric.n,
    metric.note
  FROM base.current_trial AS trial JOIN base.metric AS metric ON metric.task = trial.answer;
COMMENT ON VIEW result IS 'One row per trial and metric, long. canaries, attack, variant and release are empty for figures of the whole trial.';

CREATE VIEW comparison AS
  WITH figure AS (SELECT DISTINCT ON (task, metric) * FROM base.metric WHERE attack = '' AND canaries = '' ORDER BY task, metric),
       headline AS (SELECT DISTINCT ON (task) * FROM base.metric WHERE metric = 'headline' ORDER BY task)
  SELECT trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, trial.axes, trial.replicate,
    trial.data,
    accuracy.value AS test_accuracy, accuracy.low AS test_accuracy_low, accuracy.high AS test_accuracy_high,
    headline.value AS leakage, headline.low AS leakage_low, headline.high AS leakage_high, headline.n AS leakage_n,
    trial.fpr,
    headline.canaries, headline.attack, headline.variant, headline.release, headline.note AS leakage_note,
    area.value AS auc, area.low AS auc_low, area.high AS auc_high,
    epsilon.value AS epsilon,
    cost.value AS seconds, cost.low AS seconds_low, cost.high AS seconds_high, cost.n AS shadows,
    outcome.null_ok, outcome.flags
  FROM base.current_trial AS trial
    LEFT JOIN base.outcome AS outcome ON outcome.task = trial.answer
    LEFT JOIN headline ON headline.task = trial.answer
    LEFT JOIN figure AS accuracy ON accuracy.task = trial.answer AND accuracy.metric = 'test_accuracy'
    LEFT JOIN figure AS cost ON cost.task = trial.answer AND cost.metric = 'seconds'
    LEFT JOIN figure AS epsilon ON epsilon.task = trial.answer AND epsilon.metric = 'epsilon'
    LEFT JOIN base.metric AS area ON area.task = trial.answer AND area.metric = 'auc' AND area.canaries = headline.canaries
      AND area.attack = headline.attack AND area.variant = headline.variant AND area.release = headline.release
  ORDER BY trial.study, trial.profile, trial.paradigm, trial.label;
COMMENT ON VIEW comparison IS 'One row per trial, wide: accuracy, the headline leakage declared in the spec, AUC, cost, each with its interval.';

CREATE VIEW roc AS
  SELECT trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, roc.canaries, roc.attack,
    roc.variant, roc.release, roc.fpr, roc.tpr
  FROM base.current_trial AS trial JOIN base.roc AS roc ON roc.task = trial.answer;
COMMENT ON VIEW roc IS 'One row per point of a trial''s ROC curve per attack, thinned to about 300 points spread in log FPR.';

CREATE VIEW canary_risk AS
  SELECT trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, canary.canaries, canary.kind,
    canary.canary, canary.sample, canary.label AS canary_label, canary.true_label, risk.release, risk.attack, risk.variant, risk.tpr, risk.low,
    risk.high
  FROM base.current_trial AS trial JOIN base.risk AS risk ON risk.task = trial.answer
    JOIN base.canary AS canary ON canary.task = risk.task AND canary.canary = risk.canary;
COMMENT ON VIEW canary_risk IS 'One row per canary, trial and attack: share of the models with it that the attack catches at the headline FPR.';

CREATE VIEW cost AS
  SELECT trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, stage.stage,
    count(*) AS tasks, avg(outcome.seconds) AS seconds, min(outcome.seconds) AS seconds_low, max(outcome.seconds) AS seconds_high,
    max(outcome.peak_memory_mb) AS peak_memory_mb, any_value(outcome.device) AS device, sum(images.value) AS images_seen
  FROM base.current_trial AS trial JOIN base.stage AS stage ON stage.run = trial.run AND stage.trial = trial.trial
    JOIN base.outcome AS outcome ON outcome.task = stage.task
    LEFT JOIN base.metric AS images ON images.task = stage.task AND images.metric = 'images_seen'
  GROUP BY ALL;
COMMENT ON VIEW cost IS 'One row per trial and stage of its pipeline: seconds per shadow (mean, least, most), device, memory, images seen.';

-- The declared claims of the current runs, beside what their tests found.
CREATE VIEW base.tested AS
  WITH declared AS (
    SELECT latest.study, latest.profile, unnest(CAST(run.claims AS JSON[])) AS claim,
      generate_subscripts(CAST(run.claims AS JSON[]), 1) AS place
    FROM base.latest JOIN base.run USING (run))
  SELECT study, profile, place, claim->>'$.claim' AS claim, claim->>'$.statement' AS statement, claim->>'$.test' AS test,
    claim->>'$.metric' AS metric, CAST(claim->>'$.margin' AS DOUBLE) AS margin, claim->>'$.pairs' AS pairs, claim->>'$.task' AS task,
    CAST(claim->'$.left' AS VARCHAR[]) AS left_trials, CAST(claim->'$.right' AS VARCHAR[]) AS right_trials,
    claim->'$.left_selector' AS left_selector, claim->'$.right_selector' AS right_selector, outcome.notes
  FROM declared LEFT JOIN base.outcome AS outcome ON outcome.task = claim->>'$.task';

CREATE VIEW claim_pair AS
  WITH pair AS (SELECT * EXCLUDE (notes), unnest(CAST(notes->'$.pairs' AS JSON[])) AS pair FROM base.tested)
  SELECT study, profile, claim, test, metric, left_trials[CAST(pair->>'$.left' AS INTEGER) + 1] AS "left",
    right_trials[CAST(pair->>'$.right' AS INTEGER) + 1] AS "right", left_selector, right_selector,
    CAST(pair->>'$.effect' AS DOUBLE) AS effect, CAST(pair->>'$.low' AS DOUBLE) AS low, CAST(pair->>'$.high' AS DOUBLE) AS high,
    CAST(pair->>'$.n' AS BIGINT) AS n, CAST(pair->>'$.p' AS DOUBLE) AS p, margin, pair->>'$.verdict' AS verdict, pair->>'$.note' AS note,
    pair->'$.parts' AS parts
  FROM pair ORDER BY study, profile, place;
COMMENT ON VIEW claim_pair IS 'One row per pair of trials that a claim compares: left minus right (or over it), interval, Holm-adjusted p, verdict.';

CREATE VIEW claim AS
  SELECT tested.study, tested.profile, tested.claim, tested.statement, tested.test, tested.metric, metric.value AS effect, metric.low,
    metric.high, metric.n, tested.margin, tested.pairs,
    coalesce(json_array_length(tested.notes->'$.pairs'), 0) AS compared,
    coalesce(tested.notes->>'$.verdict', 'not tested') AS verdict, metric.note
  FROM base.tested AS tested LEFT JOIN base.metric AS metric ON metric.task = tested.task AND metric.metric = 'claim'
  ORDER BY tested.study, tested.profile, tested.place;
COMMENT ON VIEW claim IS 'One row per claim of a study: its statement, the effect and interval of the pair that decides, and the verdict.';

CREATE VIEW lint AS
  WITH found AS (
    SELECT latest.study, latest.profile, unnest(CAST(run.lints AS JSON[])) AS lint,
      generate_subscripts(CAST(run.lints AS JSON[]), 1) AS place
    FROM base.latest JOIN base.run USING (run))
  SELECT study, profile, lint->>'$.code' AS code, lint->>'$.severity' AS severity, lint->>'$.title' AS title,
    lint->>'$.message' AS message, lint->>'$.hint' AS hint, lint->>'$.place' AS place, lint->>'$.seen_in' AS seen_in,
    lint->>'$.silenced' AS silenced, lint->>'$.because' AS because, lint->>'$.source' AS source
  FROM found ORDER BY study, profile, found.place;
COMMENT ON VIEW lint IS 'One row per weakness that a lint found in a study or in its results (seen_in), with the reason for which the spec silences it.';

COMMENT ON COLUMN lint.severity IS 'An error in a spec refuses the study unless silenced; an error in the results says what the figures cannot show.';
COMMENT ON COLUMN comparison.leakage IS 'The headline: TPR at the declared FPR on the declared canaries; NULL where it cannot be resolved (see leakage_note).';
COMMENT ON COLUMN comparison.fpr IS 'The false-positive rate at which the headline is read.';
COMMENT ON COLUMN comparison.leakage_n IS 'Non-member scores behind the headline.';
COMMENT ON COLUMN comparison.seconds IS 'Seconds of a shadow''s pipeline: synthesis and training of the released classifier. Mean over shadows.';
COMMENT ON COLUMN comparison.null_ok IS 'False marks a trial whose attacks found something in membership that no model knows: its figures are invalid.';
COMMENT ON COLUMN comparison.epsilon IS 'The accountant''s epsilon for DP-SGD (add/remove neighbours); NULL elsewhere. Not a measurement.';
COMMENT ON COLUMN result.n IS 'Independent units behind the value: shadows for means over shadows, non-member scores for TPR, redraws for null controls.';

-- Trials within a distance of an accuracy, least leaky first.
CREATE MACRO matched(accuracy, margin := 0.02) AS TABLE
  SELECT * FROM comparison WHERE abs(test_accuracy - accuracy) <= margin ORDER BY leakage;
-- One metric over all trials, with its coordinates.
CREATE MACRO compare(name) AS TABLE
  SELECT label, canaries, attack, variant, release, value, low, high, n, note FROM result WHERE metric = name ORDER BY ALL;
-- A trial's curve.
CREATE MACRO roc_at(wanted_trial, wanted_attack) AS TABLE
  SELECT canaries, variant, release, fpr, tpr FROM roc WHERE trial = wanted_trial AND attack = wanted_attack ORDER BY ALL;
