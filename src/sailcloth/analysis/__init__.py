"""What can be said of configuration without a cluster: reading manifests, judging objects, and what a proxy would be sent.

The command line, admission and the console share it, so that all say the same. It must not serve anything, talk to an API
server or keep state.
"""
