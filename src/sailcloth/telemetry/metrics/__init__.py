"""The metrics store: labels, chunks of samples, and how long they are kept.

A *target* is what one scrape reads: all its series share its timestamps, so a scrape is one column. `labels` finds series, `chunks`
keeps columns small, `store` holds both, `disk` brings them through a restart.
"""
