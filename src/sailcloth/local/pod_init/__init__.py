"""PID 1 of a pod: starts its containers, reaps processes, writes logs, and reports to the node. It decides nothing.

Imports stay few, because every pod carries a copy of this process.
"""
