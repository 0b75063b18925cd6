"""Tests as sentences, against a real PostgreSQL and real files."""
