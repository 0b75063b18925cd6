"""The cleanup: stale tracks whose file is missing are marked failed."""
