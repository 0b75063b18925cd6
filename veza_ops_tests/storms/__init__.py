"""What goes wrong around a cleanup, one test a storm: no storm makes it fail a good track.

Real PostgreSQL, real files, the real job. Each test ends with the same three questions: is every good track as it
was, is every orphan failed (by this run or the next), and does the run say what happened?
"""
