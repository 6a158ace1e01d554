"""The layers of an isolation: each cuts hosts off in one place, says whether they are, and puts back what it found there.

Every layer is a module with `apply(hosts)`, `verify(hosts)` and `release(hosts, run)`.
"""
