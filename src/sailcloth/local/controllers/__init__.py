"""The controllers that the local cluster needs, in the API server's process: watches in, writes out, no polling.

Each reconciles one object by key: reads what is, computes what should be, writes the difference. They may be started and
stopped at any time; everything they know is in the API server.
"""
