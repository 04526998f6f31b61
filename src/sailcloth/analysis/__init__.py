"""Analyses configuration without a cluster: reads manifests, validates objects, and computes a proxy's configuration.

The command line, admission and the console share it, so that their results agree. Must not serve anything, talk to an API
server or keep state.
"""
