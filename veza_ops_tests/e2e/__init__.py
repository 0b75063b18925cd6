"""Real Dagster processes, started with the commands of the documentation, against a real PostgreSQL and real files."""
