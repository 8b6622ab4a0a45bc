-- Questions that every study is asked, each under its name: `synthc sql @pareto` answers one, `synthc sql @pareto --show` prints
-- its text, to be changed and asked again. `-- @name: question` begins a query; queries use public views and macros alone.
-- `LIKE` before `format` spares most of a million rows the dearer test, and takes half of the time.

-- @matched: How much does each trial leak beside the baseline that is most like it in accuracy?
WITH baseline AS (FROM comparison WHERE paradigm IN ('dp_sgd', 'undefended') AND null_ok)
SELECT origin, study, profile, trial.trial, trial.test_accuracy, baseline.trial AS baseline,
  baseline.test_accuracy - trial.test_accuracy AS baseline_is_more_accurate_by,
  trial.leakage, baseline.leakage AS baseline_leakage, trial.leakage - baseline.leakage AS leaks_more_by
FROM comparison AS trial JOIN baseline USING (origin, study, profile, replicate)
WHERE trial.paradigm NOT IN ('dp_sgd', 'undefended') AND trial.null_ok AND NOT trial.control
QUALIFY row_number() OVER (
  PARTITION BY origin, study, profile, trial.trial ORDER BY abs(baseline_is_more_accurate_by), baseline.leakage) = 1
ORDER BY origin, study, profile, leaks_more_by;

-- @pareto: Which trials does no other on the same data beat in both accuracy and leakage?
SELECT data, origin, study, profile, trial, test_accuracy, leakage, leakage_low, leakage_high, leakage_n
FROM comparison AS one
WHERE null_ok AND NOT control AND learned IS NOT FALSE AND leakage IS NOT NULL AND NOT EXISTS (
  FROM comparison AS other
  WHERE other.null_ok AND NOT other.control AND other.learned IS NOT FALSE
    AND (other.origin, other.study, other.profile, other.data) = (one.origin, one.study, one.profile, one.data)
    AND other.test_accuracy >= one.test_accuracy AND other.leakage <= one.leakage
    AND (other.test_accuracy > one.test_accuracy OR other.leakage < one.leakage))
ORDER BY data, origin, study, profile, leakage;

-- @price: What does each paradigm cost, in points of accuracy and in seconds, beside undefended training?
WITH mean AS (
  SELECT origin, study, profile, paradigm, count(*) AS trials, 100 * avg(test_accuracy) AS accuracy, 100 * avg(leakage) AS leakage,
    avg(seconds) AS seconds
  FROM comparison WHERE null_ok AND NOT control GROUP BY ALL),
  undefended AS (FROM mean WHERE paradigm = 'undefended')
SELECT origin, study, profile, mean.paradigm, mean.trials, undefended.accuracy - mean.accuracy AS points_of_accuracy_lost,
  undefended.leakage - mean.leakage AS points_of_leakage_avoided,
  CASE WHEN points_of_accuracy_lost > 0 THEN points_of_leakage_avoided / points_of_accuracy_lost END AS avoided_per_point_lost,
  mean.seconds, mean.seconds / undefended.seconds AS times_as_long
FROM mean JOIN undefended USING (origin, study, profile)
ORDER BY origin, study, profile, points_of_accuracy_lost;

-- @everywhere: Which canaries leak in every trial, whatever the arm? (Controls are left out.)
SELECT origin, study, profile, canaries, canary, sample, true_label, canary_label, count(*) AS trials,
  min(risk.tpr) AS caught_at_least, avg(risk.tpr) AS caught_on_average
FROM canary_risk AS risk SEMI JOIN (FROM comparison WHERE NOT control) USING (origin, study, profile, trial, attack, variant, release)
GROUP BY ALL ORDER BY caught_at_least DESC, caught_on_average DESC, origin, study, profile, canary LIMIT 20;

-- @stable: How much do figures differ between replicates of one point of the study?
SELECT origin, study, profile, label, count(*) AS replicates,
  avg(test_accuracy) AS test_accuracy, stddev_samp(test_accuracy) AS test_accuracy_sd,
  avg(leakage) AS leakage, stddev_samp(leakage) AS leakage_sd, max(leakage) - min(leakage) AS leakage_range,
  avg(leakage_high - leakage_low) AS width_of_interval
FROM comparison GROUP BY ALL HAVING count(*) > 1 ORDER BY origin, study, profile, leakage_range DESC;

-- @paper: A table for a paper: the TPR of the declared attack in percent, a row for each trial, a column for each group of canaries.
PIVOT (
  SELECT origin, study, profile, paradigm, trial, result.canaries,
    format('{:.1f} [{:.1f}, {:.1f}]', 100 * result.value, 100 * result.low, 100 * result.high) AS tpr
  FROM result JOIN comparison USING (origin, study, profile, paradigm, trial, attack, variant, release)
  WHERE metric LIKE 'tpr@fpr=%' AND metric = format('tpr@fpr={:g}', fpr))
ON canaries USING any_value(tpr) GROUP BY origin, study, profile, paradigm, trial
ORDER BY origin, study, profile, paradigm, trial;

-- @changed: What did the last run of a study change beside the run before it?
WITH last_two AS (
    SELECT origin, study, profile, max(run) AS after, max(run, 2)[2] AS before FROM run
    GROUP BY ALL HAVING count(*) > 1 ORDER BY after DESC LIMIT 1),
  earlier AS (FROM result_of((SELECT before FROM last_two)) WHERE metric IN ('test_accuracy', 'headline', 'seconds')),
  later AS (FROM result_of((SELECT after FROM last_two)) WHERE metric IN ('test_accuracy', 'headline', 'seconds'))
SELECT coalesce(later.origin, earlier.origin) AS origin, coalesce(later.study, earlier.study) AS study, trial, metric, earlier.value AS was, later.value AS is_now,
  later.value - earlier.value AS changed_by,
  CASE WHEN earlier.study IS NULL THEN 'new' WHEN later.study IS NULL THEN 'gone'
       WHEN earlier.value IS DISTINCT FROM later.value THEN 'changed' ELSE 'same' END AS what
FROM earlier FULL JOIN later USING (trial, metric)
ORDER BY what = 'same', abs(changed_by) DESC NULLS LAST, trial, metric;

-- @strongest: Which attack is the strongest on each trial, and how far above the declared one? (Chosen afterwards: optimistic.)
SELECT origin, study, profile, trial, result.attack, result.variant, result.release, result.value AS tpr, result.low, result.high,
  leakage AS declared, result.value - leakage AS exceeds_it_by
FROM result JOIN comparison USING (origin, study, profile, trial, canaries)
WHERE metric LIKE 'tpr@fpr=%' AND metric = format('tpr@fpr={:g}', fpr) AND result.value IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY origin, study, profile, trial ORDER BY result.value DESC, result.attack, result.variant) = 1
ORDER BY exceeds_it_by DESC, origin, study, profile, trial;

-- @average_case: What would an audit of other canaries have missed: the declared group beside each other one?
SELECT origin, study, profile, trial, comparison.canaries AS declared, leakage, result.canaries AS other, result.value AS leakage_of_other,
  leakage - result.value AS missed
FROM result JOIN comparison USING (origin, study, profile, trial, attack, variant, release)
WHERE metric LIKE 'tpr@fpr=%' AND metric = format('tpr@fpr={:g}', fpr) AND result.canaries <> comparison.canaries
ORDER BY missed DESC NULLS LAST, origin, study, profile, trial, other;

-- @doubtful: Which figures are unreliable, and why?
SELECT origin, study, profile, trial, 'leakage' AS figure, leakage_note AS why FROM comparison WHERE leakage_note <> ''
UNION ALL BY NAME SELECT origin, study, profile, trial, 'all' AS figure, flags AS why FROM comparison WHERE flags <> ''
UNION ALL BY NAME SELECT origin, study, profile, trial, 'all' AS figure, 'it learned next to nothing, so leaking little is no protection' AS why
  FROM comparison WHERE learned = false AND NOT control
UNION ALL BY NAME SELECT origin, study, profile, trial, 'all' AS figure, 'its attack has not run' AS why FROM comparison WHERE attack IS NULL
ORDER BY origin, study, profile, trial, figure;
