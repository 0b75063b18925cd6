"""What a cleanup costs, measured: see `python -m benchmarks --help` and docs/performance.md."""
