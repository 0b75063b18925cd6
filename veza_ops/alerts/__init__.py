"""Alerts: people are told when trouble starts, and when it ends."""
