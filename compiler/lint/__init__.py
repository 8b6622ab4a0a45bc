"""Lints: methodological weaknesses of a study, each found by a small function, with its reasons in `catalog`.

An error refuses the study unless the spec silences it (`allow: {L04: "why"}`); warnings are printed. Both, silenced or not, are
kept beside the results. Not here: mistakes, which nothing silences (`check`).
"""

from __future__ import annotations

from compiler.check.trials import Checked
from compiler.errors import Diagnostic, Finding, SpecError
from compiler.lint.catalog import LINTS, Lint
from compiler.lint.results import RunResults
from compiler.lint.study import Study


def lint(checked: Checked) -> tuple[Finding, ...]:
    """Distinct findings in a spec, silenced ones included, sorted by location. SpecError with all findings of severity error that
    are not silenced."""
    study = Study(checked.header, checked.trials, checked.claims, checked.tree)
    findings = {finding for rule in LINTS.values() for finding in _look_before(rule, study)}
    ordered = sorted(findings, key=lambda finding: (finding.location, finding.code, finding.message))
    refused = [finding for finding in ordered if finding.severity == "error" and finding.silenced is None]
    if refused:
        raise SpecError(*map(_refuse, refused))
    return tuple(ordered)


def lint_results(results: RunResults) -> tuple[Finding, ...]:
    """Findings in results, silenced ones included, lint by lint in the order of LINTS, none with a location. Raises no exception,
    whatever their severity."""
    return tuple(
        Finding(rule.code, rule.severity, None, message, hint, results.header.allow.get(rule.code))  # type: ignore[call-overload]
        for rule in LINTS.values()
        if rule.after is not None
        for message, hint in rule.after(results)
    )


def _look_before(rule: Lint, study: Study) -> list[Finding]:
    """The lint's findings in the spec, each with the severity of the weakness, else of the lint, and with the study's reason if the
    lint is silenced; [] for a lint without `before`."""
    silenced = {str(code): reason for code, reason in study.header.allow.items()}.get(rule.code)
    return [
        Finding(rule.code, weak.severity or rule.severity, weak.location, weak.message, weak.hint, silenced)
        for weak in (rule.before(study) if rule.before else ())
    ]


def _refuse(finding: Finding) -> Diagnostic:
    """The finding, which must have a location, as a Diagnostic (not raised) whose hint also says how to silence the lint."""
    assert finding.location is not None
    silence = f'or silence it: allow: {{{finding.code}: "why"}}'
    return Diagnostic(finding.code, finding.location, finding.message, f"{finding.hint}, {silence}" if finding.hint else silence)
