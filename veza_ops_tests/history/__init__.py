"""The forgetting of old runs."""
