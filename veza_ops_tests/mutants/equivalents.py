"""The mutants that mean the same as the code, or nothing that is promised: each with the reason why no test notices."""

EQUIVALENTS: dict[str, str] = {}
"""By the mutant's key, as `python -m veza_ops_tests.mutants.sampler` says it."""
