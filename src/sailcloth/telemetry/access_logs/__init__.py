"""Access logs: read from the log files of the pods' proxies, kept in SQLite partitions, and asked for over HTTP.

The lines are written anyway, so sidecars pay nothing, and a file waits while this process restarts. Must not know the embedded cluster:
the folder is as a kubelet keeps it (NAMESPACE_POD_UID/CONTAINER/N.log, in the format of the CRI).
"""
