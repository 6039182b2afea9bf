"""Reports: a run, a session or a sweep as one page that stands by itself, to be kept, sent and printed."""
