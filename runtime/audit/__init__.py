"""The audit: queries of releases, membership inference attacks, figures of trials, tests of claims."""
