"""The one way in which nnpm talks to Redis: the connection, the key names, the queue entry, the list of schedulers.

What travels through Redis, and what each party does with it, is described in `nnpm_scheduler/dispatch/README.md`.
"""
