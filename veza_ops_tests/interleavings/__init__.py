"""Two actors in every order: whoever writes tracks and files, and the jobs that look after them."""
