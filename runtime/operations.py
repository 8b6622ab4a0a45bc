"""Operation → the module whose `perform(work, inputs, device) -> Product` computes it; the module is imported at first use."""

OPERATIONS = {
    "TrainClassifier": "runtime.training.classifier",
    "TrainShared": "runtime.synthesize.operation",
    "TrainGenerator": "runtime.synthesize.operation",
    "Synthesize": "runtime.synthesize.operation",
    "ImportSet": "runtime.synthesize.imported",
    "ImportLogits": "runtime.synthesize.imported",
    "QueryClassifier": "runtime.audit.query.classifier",
    "QuerySet": "runtime.audit.query.synthetic_set",
    "QueryGenerator": "runtime.audit.query.generator",
    "AttackTrial": "runtime.audit.trial.trial",
    "CompareTrials": "runtime.audit.compare",
    "Rehearsal": "runtime.execution.rehearsal",
}
