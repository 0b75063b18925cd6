"""Guard mutation: each guard is taken out in turn, and a test must notice."""
