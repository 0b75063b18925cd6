"""Celery and Kubernetes, tried: docs/scale-out.md."""
