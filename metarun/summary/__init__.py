"""A summary of a run before it is started: the sections that ``mode=info`` prints."""
