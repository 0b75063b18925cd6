"""The cleanup."""
