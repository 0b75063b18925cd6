"""The audit: every playable track's file, and every file's track. Nothing is changed."""
