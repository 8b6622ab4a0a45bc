-- The rows of one store or of several. Tables in `base` are ours to change; the views in `main` are the public interface.
-- `origin` names the store that a row comes from: runs and tasks of different stores are told apart by it, equal names or not.
-- No keys and no indexes: tables are append-only, and replay bugs gather around indexes.

CREATE SCHEMA base;

CREATE TABLE base.meta (schema VARCHAR, made_by VARCHAR);   -- digest of this file
CREATE TABLE base.meaning (view VARCHAR, name VARCHAR, meaning VARCHAR);   -- of a view's column; view '': wherever it occurs
CREATE TABLE base.run (
  origin VARCHAR, run VARCHAR, study VARCHAR, question VARCHAR, profile VARCHAR, spec VARCHAR, spec_text VARCHAR, argv JSON, started TIMESTAMP,
  ended TIMESTAMP, status VARCHAR, headline JSON, versions JSON, "commit" VARCHAR, source_digest VARCHAR, claims JSON, lints JSON);
CREATE TABLE base.trial (
  origin VARCHAR, run VARCHAR, trial VARCHAR, arm VARCHAR, paradigm VARCHAR, method VARCHAR, label VARCHAR, axes JSON, replicate INTEGER,
  data VARCHAR, answer VARCHAR, control BOOLEAN, settings JSON);
CREATE TABLE base.stage (origin VARCHAR, run VARCHAR, trial VARCHAR, task VARCHAR, shadow INTEGER, stage VARCHAR);
CREATE TABLE base.task (origin VARCHAR, run VARCHAR, task VARCHAR, kind VARCHAR, operation VARCHAR, address VARCHAR, needs JSON, blocked_by VARCHAR);
CREATE TABLE base.outcome (
  origin VARCHAR, task VARCHAR, started TIMESTAMP, seconds DOUBLE, cpu_seconds DOUBLE, host VARCHAR, device VARCHAR, threads INTEGER,
  peak_memory_mb DOUBLE, cpu VARCHAR, "commit" VARCHAR, source_digest VARCHAR, null_ok BOOLEAN, flags VARCHAR,
  notes JSON USING COMPRESSION zstd);   -- of an attack they exceed the length up to which DuckDB compresses texts by itself
CREATE TABLE base.metric (
  origin VARCHAR, task VARCHAR, metric VARCHAR, value DOUBLE, low DOUBLE, high DOUBLE, n BIGINT, note VARCHAR, canaries VARCHAR, attack VARCHAR,
  variant VARCHAR, release VARCHAR);
CREATE TABLE base.attempt (
  origin VARCHAR, task VARCHAR, attempt INTEGER, status VARCHAR, error_kind VARCHAR, error VARCHAR, log VARCHAR, started TIMESTAMP, seconds DOUBLE,
  host VARCHAR, device VARCHAR);
CREATE TABLE base.roc (
  origin VARCHAR, task VARCHAR, release VARCHAR, attack VARCHAR, variant VARCHAR, canaries VARCHAR, fpr DOUBLE, tpr DOUBLE,
  low DOUBLE, high DOUBLE);
CREATE TABLE base.canary (
  origin VARCHAR, task VARCHAR, canary INTEGER, canaries VARCHAR, kind VARCHAR, label INTEGER, true_label INTEGER, sample INTEGER,
  memorization DOUBLE);
CREATE TABLE base.risk (
  origin VARCHAR, task VARCHAR, release VARCHAR, attack VARCHAR, variant VARCHAR, canary INTEGER, tpr DOUBLE, low DOUBLE, high DOUBLE,
  auc DOUBLE);
CREATE TABLE base.score (
  origin VARCHAR, task VARCHAR, release VARCHAR, attack VARCHAR, variant VARCHAR, canary INTEGER, shadow INTEGER, member BOOLEAN, score DOUBLE);

-- The run that counts for a study of an origin under a profile is its latest; names of runs begin with their time.
CREATE VIEW base.latest AS
  SELECT origin, study, profile, max(run) AS run FROM base.run GROUP BY ALL;
CREATE VIEW base.any_trial AS
  SELECT run.study, run.profile, CAST(run.headline->>'$.fpr' AS DOUBLE) AS fpr, trial.* FROM base.trial JOIN base.run USING (origin, run);
CREATE VIEW base.current_trial AS
  SELECT any_trial.* FROM base.any_trial SEMI JOIN base.latest USING (origin, run);

CREATE VIEW run AS
  SELECT origin, run, study, profile, status, started, ended, spec, argv, "commit", source_digest, versions, headline, question, spec_text
  FROM base.run;
COMMENT ON VIEW run IS 'One row per run: when, from which spec text, with which versions of code and libraries.';

CREATE VIEW attempt AS
  SELECT origin, task, attempt, status, error_kind, error, log, started, seconds, host, device FROM base.attempt;
COMMENT ON VIEW attempt IS 'One row per attempt at a task, with its outcome, error and log (a path in the store).';

CREATE VIEW task AS
  WITH current AS (SELECT DISTINCT ON (origin, task) * FROM base.task JOIN base.latest USING (origin, run) ORDER BY origin, task, run DESC),
       last_attempt AS (SELECT DISTINCT ON (origin, task) * FROM base.attempt ORDER BY origin, task, attempt DESC)
  SELECT current.origin, current.task, current.kind, current.operation, current.address,
    CASE WHEN outcome.task IS NOT NULL THEN 'done'
         WHEN last_attempt.status = 'failed' THEN 'failed'
         WHEN current.blocked_by IS NOT NULL THEN 'blocked'
         ELSE 'missing' END AS status,
    outcome.seconds, outcome.cpu_seconds, outcome.device, outcome.cpu, outcome.host, outcome.peak_memory_mb, outcome.started,
    CASE WHEN outcome.task IS NULL THEN coalesce(last_attempt.error, current.blocked_by) END AS error,
    coalesce(last_attempt.attempt, 0) AS attempts, last_attempt.log, outcome."commit", outcome.source_digest, current.needs
  FROM current LEFT JOIN base.outcome AS outcome USING (origin, task) LEFT JOIN last_attempt USING (origin, task);
COMMENT ON VIEW task IS 'One row per task of the latest run of each study: its status (done, failed, blocked, missing), cost and error.';

CREATE VIEW base.any_result AS
  SELECT trial.origin, trial.run, trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, trial.axes,
    trial.replicate, metric.canaries, metric.attack, metric.variant, metric.release, metric.metric, metric.value, metric.low,
    metric.high, metric.n, metric.note
  FROM base.any_trial AS trial JOIN base.metric AS metric ON metric.origin = trial.origin AND metric.task = trial.answer;
CREATE VIEW result AS
  SELECT * EXCLUDE (run) FROM base.any_result SEMI JOIN base.latest USING (origin, run);
COMMENT ON VIEW result IS 'One row per trial and metric, long. canaries, attack, variant and release are empty for figures of the whole trial.';

CREATE VIEW comparison AS
  WITH figure AS (SELECT DISTINCT ON (origin, task, metric) * FROM base.metric WHERE attack = '' AND canaries = ''
         ORDER BY origin, task, metric),
       headline AS (SELECT DISTINCT ON (origin, task) * FROM base.metric WHERE metric = 'headline' ORDER BY origin, task),
       wide AS (
  SELECT trial.origin, trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, trial.axes,
    trial.replicate, trial.data,
    accuracy.value AS test_accuracy, accuracy.low AS test_accuracy_low, accuracy.high AS test_accuracy_high,
    headline.value AS leakage, headline.low AS leakage_low, headline.high AS leakage_high, headline.n AS leakage_n,
    trial.fpr, realised.value AS leakage_fpr, lot.value AS leakage_by_lot,
    headline.canaries, headline.attack, headline.variant, headline.release, headline.note AS leakage_note,
    area.value AS auc, area.low AS auc_low, area.high AS auc_high,
    epsilon.value AS epsilon,
    cost.value AS seconds, cost.low AS seconds_low, cost.high AS seconds_high, cost.n AS shadows,
    outcome.null_ok, outcome.flags, chance.value AS chance, coalesce(trial.control, false) AS control, images.value AS images
  FROM base.current_trial AS trial
    LEFT JOIN base.outcome AS outcome ON outcome.origin = trial.origin AND outcome.task = trial.answer
    LEFT JOIN headline ON headline.origin = trial.origin AND headline.task = trial.answer
    LEFT JOIN base.metric AS realised
      ON realised.origin = trial.origin AND realised.task = trial.answer AND realised.metric = 'headline_fpr'
    LEFT JOIN base.metric AS lot ON lot.origin = trial.origin AND lot.task = trial.answer AND lot.metric = 'headline_by_lot'
    LEFT JOIN figure AS accuracy
      ON accuracy.origin = trial.origin AND accuracy.task = trial.answer AND accuracy.metric = 'test_accuracy'
    LEFT JOIN figure AS cost ON cost.origin = trial.origin AND cost.task = trial.answer AND cost.metric = 'seconds'
    LEFT JOIN figure AS epsilon ON epsilon.origin = trial.origin AND epsilon.task = trial.answer AND epsilon.metric = 'epsilon'
    LEFT JOIN base.metric AS area ON area.origin = trial.origin AND area.task = trial.answer AND area.metric = 'auc'
      AND area.canaries = headline.canaries AND area.attack = headline.attack AND area.variant = headline.variant AND area.release = headline.release
    LEFT JOIN figure AS chance ON chance.origin = trial.origin AND chance.task = trial.answer AND chance.metric = 'chance_accuracy'
    LEFT JOIN figure AS images ON images.origin = trial.origin AND images.task = trial.answer AND images.metric = 'images'),
       beside AS (   -- the most that a random set of no more private images teaches
  SELECT *, CASE WHEN images IS NOT NULL THEN max(CASE WHEN paradigm = 'coreset' AND method = 'random' THEN test_accuracy_low END)
    OVER (PARTITION BY origin, study, profile, data, replicate ORDER BY images) END AS taught_by_random
  FROM wide)
  SELECT * EXCLUDE (images, taught_by_random), test_accuracy_low > chance
    AND (taught_by_random IS NULL OR test_accuracy_high - chance >= (taught_by_random - chance) / 2) AS learned
  FROM beside ORDER BY origin, study, profile, paradigm, label;
COMMENT ON VIEW comparison IS 'One row per trial, wide: accuracy, the headline leakage declared in the spec, AUC, cost, each with its interval.';

CREATE VIEW roc AS
  SELECT trial.origin, trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, roc.canaries, roc.attack,
    roc.variant, roc.release, roc.fpr, roc.tpr, roc.low, roc.high
  FROM base.current_trial AS trial JOIN base.roc AS roc ON roc.origin = trial.origin AND roc.task = trial.answer;
COMMENT ON VIEW roc IS 'One row per point of a trial''s ROC curve per attack, thinned to about 300 points spread in log FPR.';

CREATE VIEW reading AS
  WITH one AS (   -- taken apart at once: a path for each of the fields reads the text as often
    SELECT trial.*, unnest(from_json(outcome.notes->'$.readings', '[{"canaries": "VARCHAR", "attack": "VARCHAR",
      "variant": "VARCHAR", "release": "VARCHAR", "fpr": "DOUBLE", "tpr": "DOUBLE", "members": "BIGINT",
      "non_members": "BIGINT", "allowed": "BIGINT", "false_positives": "BIGINT", "false_positive_canaries": "BIGINT",
      "false_positive_shadows": "BIGINT", "threshold": "DOUBLE", "rule": "VARCHAR", "by_lot": "DOUBLE"}]')) AS reading
    FROM base.current_trial AS trial JOIN base.outcome AS outcome ON outcome.origin = trial.origin AND outcome.task = trial.answer)
  SELECT origin, study, profile, arm, paradigm, method, label, trial, reading.canaries, reading.attack, reading.variant, reading.release,
    reading.fpr, reading.tpr, reading.members, reading.non_members, reading.allowed, reading.false_positives,
    CAST(reading.false_positives AS DOUBLE) / nullif(reading.non_members, 0) AS realised_fpr,
    reading.false_positive_canaries, reading.false_positive_shadows, reading.threshold, reading.rule, reading.by_lot
  FROM one;
COMMENT ON VIEW reading IS 'One row per TPR that was read: members, non-members, allowed and actual false positives and whose they are, threshold, rule.';

CREATE VIEW canary_risk AS
  SELECT trial.origin, trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, canary.canaries, canary.kind,
    canary.canary, canary.sample, canary.label AS canary_label, canary.true_label, risk.release, risk.attack, risk.variant, risk.tpr, risk.low,
    risk.high, risk.auc, canary.memorization
  FROM base.current_trial AS trial JOIN base.risk AS risk ON risk.origin = trial.origin AND risk.task = trial.answer
    JOIN base.canary AS canary ON canary.origin = risk.origin AND canary.task = risk.task AND canary.canary = risk.canary;
COMMENT ON VIEW canary_risk IS 'One row per canary, trial and attack: share of the models with it that the attack catches at the headline FPR.';

CREATE VIEW cost AS
  SELECT trial.origin, trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, stage.stage,
    count(*) AS tasks,   -- a sum of decimals: one of doubles depends on the order of its rows
    CAST(sum(CAST(outcome.seconds AS DECIMAL(18, 6))) AS DOUBLE) / count(*) AS seconds, min(outcome.seconds) AS seconds_low,
    max(outcome.seconds) AS seconds_high,
    CAST(sum(CAST(outcome.cpu_seconds AS DECIMAL(18, 6))) AS DOUBLE) / count(*) AS cpu_seconds,
    max(outcome.peak_memory_mb) AS peak_memory_mb, any_value(outcome.device) AS device,
    sum(images.value) AS images_seen, max(gpu.value) AS gpu_memory_mb,
    bool_or(asked.kind IN ('train', 'synthesize') AND asked.operation NOT SIMILAR TO '(TrainShared|Import).*'
      AND NOT list_contains(asked.needs->>'$[*][0]', 'set')) AS private
  FROM base.current_trial AS trial JOIN base.stage AS stage USING (origin, run, trial)
    JOIN base.outcome AS outcome USING (origin, task) JOIN base.task AS asked USING (origin, run, task)
    LEFT JOIN base.metric AS images ON images.origin = stage.origin AND images.task = stage.task AND images.metric = 'images_seen'
    LEFT JOIN base.metric AS gpu ON gpu.origin = stage.origin AND gpu.task = stage.task AND gpu.metric = 'gpu_memory_mb'
  GROUP BY ALL;
COMMENT ON VIEW cost IS 'One row per trial and stage of its pipeline: seconds per shadow (mean, least, most), device, memory, images seen.';

CREATE VIEW training AS
  WITH loop AS (
    SELECT trial.*, stage.shadow, stage.stage, stage.task,
      unnest(map_entries(from_json(outcome.notes->'$.losses', '"MAP(VARCHAR, DOUBLE[][])"'))) AS loop
    FROM base.current_trial AS trial JOIN base.stage AS stage USING (origin, run, trial) JOIN base.outcome AS outcome USING (origin, task)),
  point AS (SELECT * EXCLUDE (loop), loop.key AS part, unnest(loop.value) AS point FROM loop)
  SELECT origin, study, profile, arm, paradigm, method, label, trial, shadow, stage, part, CAST(point[1] AS BIGINT) AS step, point[2] AS loss, task
  FROM point;
COMMENT ON VIEW training IS 'One row per point of a loss curve, of up to 50: what each training, generator and distiller of a trial lowered.';

CREATE VIEW setting AS
  SELECT origin, study, profile, arm, paradigm, method, label, trial, substr(leaf.fullkey, 3) AS setting, leaf.atom->>'$' AS value
  FROM base.current_trial AS trial, json_tree(trial.settings) AS leaf WHERE leaf.type NOT IN ('OBJECT', 'ARRAY')
  ORDER BY origin, study, profile, trial, leaf.id;
COMMENT ON VIEW setting IS 'One row per trial and hyper-parameter, with defaults filled in: setting is its place, such as classifier.lr.';

CREATE VIEW metric AS
  SELECT * FROM (VALUES
    ('headline', 'share', 'The leakage: TPR of the declared attack, canaries and release level at the declared FPR.',
     'Carlini et al. 2022 (LiRA); Aerni et al. 2024'),
    ('headline_fpr', 'share', 'The FPR at which the headline was in fact read: scores that tie are taken whole, so it may be below the declared one.',
     'runtime.audit.statistics.roc'),
    ('headline_by_lot', 'share', 'What the headline would be if canaries with equal scores were accepted by lot until the FPR is reached.',
     'runtime.audit.statistics.roc'),
    ('tpr@fpr=*', 'share', 'Members that are called members where at most this share of non-members is.', 'Carlini et al. 2022'),
    ('tpr@fpr=*,used', 'share', 'The same, of members from which some image of the set was chosen or began.',
     'runtime.audit.trial.metrics'),
    ('tpr@fpr=*,unused', 'share', 'The same, of the other members.', 'runtime.audit.trial.metrics'),
    ('tpr@fpr=*,copied', 'share', 'The same, of members with an almost-copy in the set of their shadow.',
     'runtime.audit.trial.copies'),
    ('tpr@fpr=*,not_copied', 'share', 'The same, of members without one.', 'runtime.audit.trial.copies'),
    ('auc', 'share', 'Area under the ROC curve: how often a member scores higher than a non-member. 0.5 is guessing.',
     'Hanley and McNeil 1982'),
    ('balanced_accuracy', 'share', 'Mean of true-positive and true-negative rate at the best threshold. 0.5 is guessing.',
     'runtime.audit.statistics.roc'),
    ('realised_tpr', 'share', 'TPR of thresholds that are read from the other shadows alone, as an adversary has to.',
     'runtime.audit.statistics.deployed'),
    ('realised_fpr', 'share', 'FPR of these thresholds.', 'runtime.audit.statistics.deployed'),
    ('ppv@prior=*', 'share', 'Of those whom these thresholds call members, the share that are, where so many of the asked are members.',
     'Jayaraman et al. 2021'),
    ('epsilon_lower_clopper_pearson', 'epsilon', 'Epsilon is at least this, by Clopper-Pearson ends of the rates; only of independent trials.',
     'Jagielski et al. 2020'),
    ('epsilon_lower_steinke', 'epsilon', 'Epsilon is at least this, from one training with many canaries, whatever the mechanism.',
     'Steinke, Nasr and Jagielski 2023'),
    ('epsilon_lower_f_dp', 'epsilon', 'Epsilon is at least this, from one training, by f-DP.',
     'Mahloujifar, Melis and Chaudhuri 2024'),
    ('epsilon_lower_f_dp_if_gaussian', 'epsilon', 'The same, if the trade-off curve is that of a Gaussian mechanism.',
     'Mahloujifar, Melis and Chaudhuri 2024'),
    ('epsilon_lower_mu_gdp', 'epsilon', 'Epsilon is at least this, by the mu of Gaussian differential privacy that the rates rule out.',
     'Nasr et al. 2023'),
    ('epsilon_lower_mu_gdp_if_gaussian', 'epsilon', 'The same, if the trade-off curve is that of a Gaussian mechanism.',
     'Nasr et al. 2023'),
    ('dp_soundness', 'epsilon', 'The audited bound beside the accountant''s epsilon: above it, the implementation breaks its promise.',
     'runtime.audit.trial.soundness'),
    ('null_auc', 'share', 'Mean AUC of the attack on memberships that no model knows; low and high: where most of them lie.',
     'runtime.audit.statistics.null'),
    ('null_tpr@fpr=*', 'share', 'Mean TPR of the attack on such memberships.', 'runtime.audit.statistics.null'),
    ('null_epsilon_share', 'share', 'Such memberships for which a bound above zero came out.', 'runtime.audit.statistics.null'),
    ('permutation_p', 'p-value', 'Share of such memberships on which the attack does at least as well as on the true one.',
     'Phipson and Smyth 2010'),
    ('sham_auc', 'share', 'AUC of the declared attack on z samples, with a row of membership that training ignored. 0.5 is right.',
     'runtime.audit.trial.measure'),
    ('floored_fits', 'count', 'Distributions that had to be given a least width since shadows all but agree.',
     'runtime.audit.attacks.lira'),
    ('risk_overlap', 'share', 'Overlap of the canaries of most risk between halves of the shadows: would other models name the same ones?',
     'runtime.audit.trial.risk'),
    ('student_teacher_ratio', 'ratio', 'TPR of the attack on the student over that on its teacher: what distillation keeps of the leakage.',
     'Jagielski et al. 2023 (Students Parrot Their Teachers)'),
    ('near_duplicates', 'count', 'Canaries with a near twin in the fixed part or among the other canaries.',
     'runtime.data.population.near_duplicates'),
    ('test_accuracy', 'share', 'Test images that the released classifier gets right.', 'runtime.audit.trial.utility'),
    ('chance_accuracy', 'share', 'The same, of always guessing the commonest class of the test images.',
     'runtime.audit.trial.utility'),
    ('train_accuracy', 'share', 'Images of its own training set that a classifier gets right.', 'runtime.training.classifier'),
    ('train_loss', 'nats', 'Mean cross-entropy over the last pass, as presented.', 'runtime.training.sgd'),
    ('canary_accuracy_in', 'share', 'Canaries that models which were trained on them give the label that they were trained with.',
     'runtime.training.scoring'),
    ('canary_accuracy_out', 'share', 'The same, of models which were not.', 'runtime.training.scoring'),
    ('seconds', 'seconds', 'Wall-clock time; of a trial: of one shadow''s pipeline, mean over shadows.',
     'runtime.audit.trial.utility'),
    ('images_seen', 'count', 'Images that went through a network in training.', 'runtime.training.classifier'),
    ('images_per_second', '1/s', 'The same, by the time that it took.', 'runtime.training.classifier'),
    ('gpu_memory_mb', 'MB', 'Most that torch held of a GPU, without its context.', 'runtime.execution.worker'),
    ('images', 'count', 'Images of the released set.', 'runtime.synthesize.operation'),
    ('share_selected', 'share', 'Private images that are, or began, some image of the set.', 'runtime.synthesize.operation'),
    ('canary_share_selected', 'share', 'The same, of the canaries of a group that the private set holds.',
     'runtime.synthesize.operation'),
    ('canary_enrichment', 'ratio', 'That share over that of all private images: 1 for a choice that is blind to canaries.',
     'runtime.synthesize.operation'),
    ('share_kept', 'share', 'Drawn images that the filtering classifier kept.', 'runtime.synthesize.diffusion.generate'),
    ('student_agreement', 'share', 'Invented images to which teacher and student give the same answer.',
     'runtime.synthesize.data_free_kd.rounds'),
    ('classes_invented', 'count', 'Classes that the teacher sees among the invented images.',
     'runtime.synthesize.data_free_kd.rounds'),
    ('denoiser_loss', 'squared error', 'What training of the denoiser lowered, mean of the last twentieth of the steps.',
     'Ho et al. 2020'),
    ('autoencoder_loss', 'loss', 'Squared error of pixels in -1..1 behind the autoencoder, plus 1e-6 times the KL divergence of the latents; last batch.',
     'Rombach et al. 2022'),
    ('epsilon', 'epsilon', 'What DP-SGD spent, for one image added or removed. A guarantee, not a measurement.',
     'Abadi et al. 2016; dp_accounting'),
    ('delta', 'probability', 'The delta of that epsilon.', 'dp_accounting'),
    ('noise_multiplier', 'ratio', 'Standard deviation of DP-SGD''s noise over its clipping norm.', 'Abadi et al. 2016'),
    ('nearest_pixel_distance', 'grey levels', 'Distance of a canary to the nearest image of the set, median over canaries.',
     'runtime.audit.query.synthetic_set'),
    ('nearest_public_distance', 'grey levels', 'The same, to as many public images.', 'runtime.audit.query.synthetic_set'),
    ('nearest_ratio', 'ratio', 'Distance of members over that of non-members, geometric mean over canaries: 1 where members are no nearer.',
     'runtime.audit.trial.copies'),
    ('copied_share', 'share', 'Members with an almost-copy in the set of their shadow.', 'runtime.audit.trial.copies'),
    ('trace_back_rate', 'share', 'Images of the set whose nearest private image is the one that they began from.',
     'runtime.audit.query.synthetic_set'),
    ('claim', 'as the claim', 'Effect of the pair that decides a claim, in units of what it compares.', 'runtime.audit.compare'),
    ('p_value', 'p-value', 'Of synthc judge: that members rank as near by chance.', 'runtime.judge'),
    ('copied_members', 'count', 'Members on the list of copied ones; low: at 95 % at least so many are.', 'runtime.judge'),
    ('phantoms', 'count', 'Holdout units as near as the listed members, which the set never saw.', 'runtime.judge'),
    ('null_listed', 'share', 'Redrawn labels under which anything is listed at all.', 'runtime.judge'),
    ('detectable_share', 'share', 'Copied members that this holdout would find with a power of 80 %.', 'runtime.judge'),
    ('holdout_for_a_tenth', 'count', 'Holdout units that would show two copied members.', 'runtime.judge'),
    ('needs', 'count', 'What a figure that cannot be resolved would need.', 'runtime.judge'),
    ('epsilon_lower', 'epsilon', 'Of synthc judge: a lower bound from the one set.', 'Steinke, Nasr and Jagielski 2023'),
    ('use.*', 'share', 'Of synthc judge: of what use the set is (accuracy of models trained on it, on members and on as many of them; what it covers), after / by class.',
     'runtime.judge.use')
  ) AS dictionary(name, unit, meaning, source);
COMMENT ON VIEW metric IS 'The dictionary of metrics: * stands for a number or a name, so join by `result.metric GLOB metric.name`.';

-- The declared claims of the current runs, beside what their tests found.
CREATE VIEW base.tested AS
  WITH declared AS (
    SELECT latest.origin, latest.study, latest.profile, unnest(CAST(run.claims AS JSON[])) AS claim,
      generate_subscripts(CAST(run.claims AS JSON[]), 1) AS place
    FROM base.latest JOIN base.run USING (origin, run))
  SELECT declared.origin, study, profile, place, claim->>'$.claim' AS claim, claim->>'$.statement' AS statement, claim->>'$.test' AS test,
    claim->>'$.metric' AS metric, CAST(claim->>'$.margin' AS DOUBLE) AS margin, claim->>'$.pairs' AS pairs, claim->>'$.task' AS task,
    CAST(claim->'$.left' AS VARCHAR[]) AS left_trials, CAST(claim->'$.right' AS VARCHAR[]) AS right_trials,
    claim->'$.left_selector' AS left_selector, claim->'$.right_selector' AS right_selector, outcome.notes,
    claim->>'$.evidence' AS evidence, claim->>'$.words' AS words, claim->>'$.declared.run' AS declared_in,
    CAST(claim->>'$.declared.at' AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS declared,
    CAST(claim->>'$.declared.outcomes' AS BIGINT) AS outcomes_before, claim->'$.earlier' AS earlier,
    CAST(outcome.notes->>'$.p' AS DOUBLE) AS p, CAST(outcome.notes->>'$.alpha' AS DOUBLE) AS alpha
  FROM declared LEFT JOIN base.outcome AS outcome ON outcome.origin = declared.origin AND outcome.task = claim->>'$.task';

CREATE VIEW claim_pair AS
  WITH pair AS (SELECT * EXCLUDE (notes, p), unnest(CAST(notes->'$.pairs' AS JSON[])) AS pair FROM base.tested)
  SELECT origin, study, profile, claim, test, metric, left_trials[CAST(pair->>'$.left' AS INTEGER) + 1] AS "left",
    right_trials[CAST(pair->>'$.right' AS INTEGER) + 1] AS "right", left_selector, right_selector,
    CAST(pair->>'$.effect' AS DOUBLE) AS effect, CAST(pair->>'$.low' AS DOUBLE) AS low, CAST(pair->>'$.high' AS DOUBLE) AS high,
    CAST(pair->>'$.n' AS BIGINT) AS n, CAST(pair->>'$.p' AS DOUBLE) AS p, margin, pair->>'$.verdict' AS verdict, pair->>'$.note' AS note,
    pair->>'$.decided_by' AS decided_by, pair->'$.parts' AS parts
  FROM pair ORDER BY origin, study, profile, place;
COMMENT ON VIEW claim_pair IS 'One row per pair of trials that a claim compares: left minus right (or over it), interval, adjusted p, verdict.';

CREATE VIEW claim AS   -- Holm over the claims of a study: the p-values in their order, each times as many as are left, never falling
  WITH ordered AS (
    SELECT *, row_number() OVER study AS rank, count(p) OVER (PARTITION BY origin, study, profile) AS claims
    FROM base.tested WINDOW study AS (PARTITION BY origin, study, profile ORDER BY p NULLS LAST, place)),
  adjusted AS (SELECT *, least(1.0, max((claims - rank + 1) * p) OVER (PARTITION BY origin, study, profile ORDER BY rank)) AS study_p FROM ordered)
  SELECT tested.origin, tested.study, tested.profile, tested.claim, tested.statement, tested.test, tested.metric, metric.value AS effect, metric.low,
    metric.high, metric.n, tested.margin, tested.pairs,
    coalesce(json_array_length(tested.notes->'$.pairs'), 0) AS compared,
    coalesce(tested.notes->>'$.verdict', 'not tested') AS verdict, metric.note, tested.p, CASE WHEN tested.p IS NOT NULL THEN study_p END AS study_p,
    CASE WHEN tested.p IS NULL OR study_p <= alpha THEN coalesce(tested.notes->>'$.verdict', 'not tested') ELSE 'undecided' END AS study_verdict,
    tested.notes->>'$.decided_by' AS decided_by, left_trials[CAST(tested.notes->>'$.left' AS INTEGER) + 1] AS "left",
    right_trials[CAST(tested.notes->>'$.right' AS INTEGER) + 1] AS "right", evidence, words, declared, declared_in, outcomes_before, earlier
  FROM adjusted AS tested
    LEFT JOIN base.metric AS metric ON metric.origin = tested.origin AND metric.task = tested.task AND metric.metric = 'claim'
  ORDER BY tested.origin, tested.study, tested.profile, tested.place;
COMMENT ON VIEW claim IS 'One row per claim of a study: its statement, the effect and interval of the pair that decides, and the verdict.';

CREATE VIEW lint AS
  WITH found AS (
    SELECT latest.origin, latest.study, latest.profile, unnest(CAST(run.lints AS JSON[])) AS lint,
      generate_subscripts(CAST(run.lints AS JSON[]), 1) AS place
    FROM base.latest JOIN base.run USING (origin, run))
  SELECT origin, study, profile, lint->>'$.code' AS code, lint->>'$.severity' AS severity, lint->>'$.title' AS title,
    lint->>'$.message' AS message, lint->>'$.hint' AS hint, lint->>'$.place' AS place, lint->>'$.seen_in' AS seen_in,
    lint->>'$.silenced' AS silenced, lint->>'$.because' AS because, lint->>'$.source' AS source
  FROM found ORDER BY origin, study, profile, found.place;
COMMENT ON VIEW lint IS 'One row per weakness that a lint found in a study or in its results (seen_in), with the reason for which the spec silences it.';

-- Macros. Raise the version when a public column goes, is renamed, or changes its meaning; new ones need none.
CREATE MACRO schema_version() AS 2;
COMMENT ON MACRO schema_version IS 'Version of views and macros: raised when a column goes, is renamed, or changes its meaning.';
CREATE MACRO columns_of(wanted) AS TABLE
  SELECT column_name AS "column", data_type AS type, comment AS meaning FROM duckdb_columns()
  WHERE database_name = current_database() AND schema_name = 'main' AND table_name = wanted ORDER BY column_index;
COMMENT ON MACRO TABLE columns_of IS 'What the columns of a view mean: FROM columns_of(''comparison'').';
CREATE MACRO matched(accuracy, margin := 0.02) AS TABLE
  SELECT * FROM comparison WHERE abs(test_accuracy - accuracy) <= margin AND NOT control ORDER BY leakage, origin, study, profile, trial;
COMMENT ON MACRO TABLE matched IS 'Trials within 2 points (or margin := …) of an accuracy, least leaky first, without controls: FROM matched(0.95).';
CREATE MACRO compare(name) AS TABLE
  SELECT origin, study, profile, label, trial, canaries, attack, variant, release, value, low, high, n, note FROM result WHERE metric = name
  ORDER BY ALL;
COMMENT ON MACRO TABLE compare IS 'One metric over all trials, with its coordinates: FROM compare(''auc'').';
CREATE MACRO roc_at(wanted_trial, wanted_attack) AS TABLE
  SELECT origin, study, profile, canaries, variant, release, fpr, tpr, low, high FROM roc
  WHERE trial = wanted_trial AND attack = wanted_attack ORDER BY ALL;
COMMENT ON MACRO TABLE roc_at IS 'The curves of a trial under an attack: FROM roc_at(''undefended#0'', ''lira'').';
CREATE MACRO result_of(wanted_run) AS TABLE
  SELECT * EXCLUDE (run) FROM base.any_result WHERE run = wanted_run;
COMMENT ON MACRO TABLE result_of IS 'As the view result, of any run and not the latest alone: FROM result_of((SELECT min(run) FROM run)).';

-- What columns mean: put on each column as its comment when an index is made.
INSERT INTO base.meaning VALUES
  ('', 'origin', 'The store that the row comes from: its name and identity. One database may gather several.'),
  ('', 'study', 'Name of the study.'),
  ('', 'profile', 'Profile of the spec under which it ran; empty for none.'),
  ('', 'arm', 'Name of the arm in the spec.'),
  ('', 'paradigm', 'undefended, dp_sgd, coreset, distillation, data_free_kd or diffusion.'),
  ('', 'method', 'Method of the paradigm, such as forgetting; the paradigm itself where it has only one.'),
  ('', 'label', 'Arm and grid values in one readable name; the same for all replicates.'),
  ('', 'trial', 'Address of the trial: arm, grid coordinates, replicate. Unique in a study under a profile.'),
  ('', 'axes', 'Grid coordinates as JSON, such as axes->>''fraction''.'),
  ('', 'replicate', 'Which repetition: other training seeds, other orientation of membership, the same canaries.'),
  ('', 'data', 'Name of the private data set.'),
  ('', 'canaries', 'Group of canaries; empty for figures of the whole trial.'),
  ('', 'attack', 'Attack, such as lira; empty for figures that no attack gave.'),
  ('', 'variant', 'Signal, form and number of queries of the attack, such as logit/pooled/1q.'),
  ('', 'release', 'What the adversary saw: final_model, labels_only, synthetic_set, index_list, generator or teacher.'),
  ('', 'metric', 'Name of the figure, such as test_accuracy or tpr@fpr=0.01.'),
  ('', 'value', 'The figure; NULL where it cannot be resolved, and then note says why.'),
  ('', 'low', 'Lower end of the 95 % interval; NULL where there is none.'),
  ('', 'high', 'Upper end of the 95 % interval; NULL where there is none.'),
  ('', 'n', 'Independent units behind the value: shadows for means, non-member scores for TPR, redraws for null controls.'),
  ('', 'note', 'What limits the figure, such as too few false positives; empty if nothing does.'),
  ('', 'fpr', 'The false-positive rate at which the headline is read.'),
  ('', 'tpr', 'True-positive rate.'),
  ('', 'seconds', 'Wall-clock seconds of the task.'),
  ('', 'cpu_seconds', 'Processor seconds of all threads of the task, which other programs on the machine hardly change.'),
  ('', 'seconds_low', 'Lower end of the 95 % interval of seconds.'),
  ('', 'seconds_high', 'Upper end of the 95 % interval of seconds.'),
  ('', 'device', 'Where it was computed: cpu, or the model of the GPU.'),
  ('', 'cpu', 'Model of the processor.'),
  ('', 'host', 'Name of the machine.'),
  ('', 'peak_memory_mb', 'Peak memory of the worker in MB.'),
  ('', 'gpu_memory_mb', 'Most that torch held of a GPU in MB, without its context; NULL where no GPU computed it.'),
  ('', 'started', 'When it began, UTC.'),
  ('', 'ended', 'When it ended, UTC; NULL while it runs.'),
  ('', 'status', 'done, failed, blocked (waits for what failed) or missing.'),
  ('', 'error', 'What went wrong, or what it waits for; NULL or empty where nothing did.'),
  ('', 'log', 'What was printed: a file in the store, relative to it.'),
  ('', 'commit', 'Git commit of the code; + marks a tree with changes.'),
  ('', 'source_digest', 'Digest of the source files that were run.'),
  ('', 'task', 'Id of the task: a hash of what it computes from what.'),
  ('', 'claim', 'Name of the claim in the spec.'),
  ('', 'test', 'difference, ratio, equivalence, matched, dominance or correlation.'),
  ('', 'margin', 'By how much before it counts, in units of the metric.'),
  ('', 'verdict', 'supported, refuted, undecided or not tested.'),
  ('comparison', 'test_accuracy', 'Accuracy of the released classifier on test data: mean over shadows, 0 to 1.'),
  ('comparison', 'test_accuracy_low', 'Lower end of its 95 % interval.'),
  ('comparison', 'test_accuracy_high', 'Upper end of its 95 % interval.'),
  ('comparison', 'leakage',
   'The headline: TPR at the declared FPR on the declared canaries; NULL where it cannot be resolved (see leakage_note).'),
  ('comparison', 'leakage_low', 'Lower end of its 95 % interval: two-way bootstrap over canaries and shadows.'),
  ('comparison', 'leakage_high', 'Upper end of its 95 % interval.'),
  ('comparison', 'leakage_fpr', 'The false-positive rate at which it was read: ties are taken whole, so it may be below fpr.'),
  ('comparison', 'leakage_by_lot', 'What it would be if canaries with equal scores were accepted by lot until fpr is reached.'),
  ('comparison', 'leakage_n', 'Non-member scores behind the headline.'),
  ('comparison', 'canaries', 'Group of canaries of the headline.'),
  ('comparison', 'attack', 'Attack of the headline.'),
  ('comparison', 'leakage_note', 'What limits the headline, such as too few false positives; empty if nothing does.'),
  ('comparison', 'auc', 'Area under the ROC curve of the headline''s attack and canaries; 0.5 is guessing.'),
  ('comparison', 'auc_low', 'Lower end of its 95 % interval.'),
  ('comparison', 'auc_high', 'Upper end of its 95 % interval.'),
  ('comparison', 'epsilon', 'The accountant''s epsilon for DP-SGD (add/remove neighbours); NULL elsewhere. Not a measurement.'),
  ('comparison', 'seconds',
   'Seconds of a shadow''s pipeline: synthesis and training of the released classifier. Mean over shadows.'),
  ('comparison', 'shadows', 'Models in the trial''s pool.'),
  ('comparison', 'null_ok',
   'False marks a trial whose attacks found something in membership that no model knows: its figures are invalid.'),
  ('comparison', 'chance', 'Accuracy of always guessing the commonest class of the test data.'),
  ('comparison', 'control', 'Whether nothing private can be in it, as the spec says: no way of training to compare others with.'),
  ('comparison', 'learned',
   'False where the interval of the accuracy reaches chance, or where all of it lies less than half as far above chance as a random '
   'set of no more images brings its models: that it leaks little is then no protection. NULL where the accuracy is not known.'),
  ('comparison', 'flags', 'What the audit noticed, such as a failed null control or mixed devices; empty if nothing.'),
  ('roc', 'fpr', 'False-positive rate of the point.'),
  ('roc', 'tpr', 'True-positive rate of the point.'),
  ('roc', 'low', 'Lower end of the pointwise 95 % band of the TPR; for the headline''s attack, else NULL.'),
  ('roc', 'high', 'Upper end of the pointwise 95 % band.'),
  ('canary_risk', 'kind', 'Kind of the group: mislabeled, clean, ood, duplicated, blank, …'),
  ('canary_risk', 'canary', 'Index of the canary among all canaries of the study; the same in every trial.'),
  ('canary_risk', 'sample', 'Index of its image in the data set; -1 where it has none.'),
  ('canary_risk', 'canary_label', 'Label with which it was trained.'),
  ('canary_risk', 'true_label', 'Label that it has in the data; differs for mislabeled canaries.'),
  ('canary_risk', 'tpr', 'Share of the models with it in which the attack catches it, at the headline''s FPR over its group.'),
  ('canary_risk', 'low', 'Lower end of the 95 % interval (Jeffreys).'),
  ('canary_risk', 'high', 'Upper end of the 95 % interval (Jeffreys).'),
  ('canary_risk', 'auc', 'Its own area under the curve: how well the attack tells models with it from models without.'),
  ('canary_risk', 'memorization', 'Mean confidence in its label of final models with it, minus that of models without.'),
  ('reading', 'tpr', 'The true-positive rate that was read; NULL where it cannot be resolved.'),
  ('reading', 'members', 'Member scores.'),
  ('reading', 'non_members', 'Non-member scores.'),
  ('reading', 'allowed', 'False positives that the rate allows.'),
  ('reading', 'false_positives', 'False positives that there are: tie blocks are taken whole or not at all.'),
  ('reading', 'realised_fpr', 'False positives over non-members.'),
  ('reading', 'false_positive_canaries', 'Different canaries among the false positives.'),
  ('reading', 'false_positive_shadows', 'Different models among the false positives: one alone would say more of it than of the attack.'),
  ('reading', 'threshold', 'Least score that is called a member; NULL where none is.'),
  ('reading', 'rule', 'count: at most the declared rate, in whole tie blocks; lt: below it, as in published code.'),
  ('reading', 'by_lot', 'The TPR if canaries with equal scores were accepted by lot until the declared rate is reached.'),
  ('cost', 'stage', 'Stage of the pipeline: train proxy, synthesize, model, final_model (its query), …'),
  ('cost', 'tasks', 'Tasks of the stage that are done: one per shadow.'),
  ('cost', 'seconds', 'Mean wall-clock seconds of a task of the stage. A task that several trials share counts in each.'),
  ('cost', 'seconds_low', 'Least seconds of a task.'),
  ('cost', 'seconds_high', 'Most seconds of a task.'),
  ('cost', 'images_seen', 'Images that went through a network in training, over all shadows; NULL where it was not counted.'),
  ('setting', 'setting', 'Where it stands among the words of the trial: arm.fraction, classifier.lr, audit.attacks[0].signal, seed, …'),
  ('setting', 'value', 'Its value as text; NULL for null.'),
  ('metric', 'name', 'Name of the metric, as in result; * stands for a number or a name.'),
  ('metric', 'unit', 'share (0 to 1), count, seconds, …'),
  ('metric', 'meaning', 'What it says, of what, and in which direction.'),
  ('metric', 'source', 'Where it is defined: a paper, or a module of this project.'),
  ('training', 'shadow', 'Index of the model of the pool in whose pipeline it was; 0 for what all share.'),
  ('training', 'stage', 'Stage of the pipeline: train proxy, synthesize, model, …'),
  ('training', 'part', 'Which loop of the task: the purpose of a classifier, the method of a distiller, diffusion, expert 3, …'),
  ('training', 'step', 'Losses that were seen by then: mostly one for each step of the training.'),
  ('training', 'loss', 'Mean of what was lowered since the point before; NULL where it was no number.'),
  ('cost', 'private',
   'Whether its tasks are handed the private set of their shadow (data-free methods are, and read the teacher alone); else they see what '
   'earlier stages made, or public images.'),
  ('claim', 'statement', 'The hypothesis, in a sentence.'),
  ('claim', 'metric', 'What is compared: leakage, auc, tpr@fpr=…, test_accuracy, … or an attack, for a correlation.'),
  ('claim', 'effect', 'Effect that decides, of the pair that decides, in units of decided_by; NULL where none could be resolved.'),
  ('claim', 'low', 'Lower end of its interval.'),
  ('claim', 'high', 'Upper end of its interval.'),
  ('claim', 'n', 'Units behind the effect.'),
  ('claim', 'p', 'p-value of the verdict, or of the nearer one where it is undecided; adjusted over the pairs of the claim.'),
  ('claim', 'study_p', 'The same, Holm-adjusted over the claims of the study.'),
  ('claim', 'study_verdict', 'The verdict where study_p decides.'),
  ('claim', 'decided_by', 'Figure of the pair that decides on which the verdict hangs, such as leakage or cost of a dominance.'),
  ('claim', 'left', 'Address of the left trial of the pair that decides.'),
  ('claim', 'right', 'Address of its right trial; NULL for a correlation.'),
  ('claim', 'evidence', 'exploratory: the questions were asked of these data before. confirmatory: declared before any outcome. As the study says.'),
  ('claim', 'words', 'Digest of what is claimed, as it is written: another one is another claim.'),
  ('claim', 'declared', 'When these words were first run with, UTC.'),
  ('claim', 'declared_in', 'That run.'),
  ('claim', 'outcomes_before', 'Trials of the study that had results in the store by then, under any profile: 0 is declared in advance.'),
  ('claim', 'earlier', 'Verdicts of other words, trials or settings under this name: run, verdict, effect, low, high; as JSON.'),
  ('claim', 'pairs', 'Of how many pairs it is claimed: all, any or none.'),
  ('claim', 'compared', 'Pairs of trials that were compared.'),
  ('claim_pair', 'metric', 'What is compared: leakage, auc, tpr@fpr=…, test_accuracy, … or an attack, for a correlation.'),
  ('claim_pair', 'left', 'Address of the trial on the left.'),
  ('claim_pair', 'right', 'Address of the trial on the right.'),
  ('claim_pair', 'left_selector', 'Words that chose the left trials, as in the spec.'),
  ('claim_pair', 'right_selector', 'Words that chose the right trials.'),
  ('claim_pair', 'effect', 'Of the figure that decides: left minus right, or left over right for a ratio or a cost.'),
  ('claim_pair', 'low', 'Lower end of its interval.'),
  ('claim_pair', 'high', 'Upper end of its interval.'),
  ('claim_pair', 'n', 'Units behind the effect.'),
  ('claim_pair', 'p', 'p-value of what the data speak for, support or refutation; each adjusted over the pairs of the claim (step-down).'),
  ('claim_pair', 'decided_by', 'Figure on which its verdict hangs, such as leakage or cost of a dominance.'),
  ('claim_pair', 'parts', 'Everything that was compared, as JSON: effect, interval, margin, one-sided p above and below it; seconds are told, not tested.'),
  ('lint', 'code', 'Name of the lint; `synthc check --explain CODE` says more.'),
  ('lint', 'severity',
   'An error in a spec refuses the study unless silenced; an error in the results says what the figures cannot show.'),
  ('lint', 'title', 'The rule, in a few words.'),
  ('lint', 'message', 'What was found.'),
  ('lint', 'hint', 'What would do.'),
  ('lint', 'place', 'Where in the spec: file:line:column, the file from where the spec lies; NULL for what was found in the results.'),
  ('lint', 'seen_in', 'spec or results.'),
  ('lint', 'silenced', 'The reason for which the spec allows it; NULL where it does not.'),
  ('lint', 'because', 'Why the rule exists.'),
  ('lint', 'source', 'Where the rule comes from.'),
  ('task', 'kind', 'train, synthesize, query, attack or compare.'),
  ('task', 'operation', 'Class of the work, and the method where there are several.'),
  ('task', 'address', 'Where it was first asked for: trial, shadow, stage.'),
  ('task', 'attempts', 'How often it was tried.'),
  ('task', 'needs', 'What it reads: pairs of role and task id.'),
  ('run', 'run', 'Name of the run: its time and study. Later runs sort last.'),
  ('run', 'status', 'running; done: all that was asked for is there; failed: tasks of this run, or the run itself; incomplete: what failed '
   'before was not tried again; interrupted; or killed (as the next command on its store finds out).'),
  ('run', 'spec', 'Path of the spec.'),
  ('run', 'argv', 'Arguments of the command.'),
  ('run', 'versions', 'Versions of the libraries, as JSON.'),
  ('run', 'headline', 'The headline that the spec declares, as JSON.'),
  ('run', 'question', 'What the study wants to know.'),
  ('run', 'spec_text', 'The spec as it was read, without what it extends.'),
  ('attempt', 'attempt', 'Which attempt, from 1.'),
  ('attempt', 'status', 'done or failed.'),
  ('attempt', 'error_kind', 'Kind of error, such as exception, diverged, out_of_memory or corrupt; empty if none.');
