"""The only place that opens SSH, PostgreSQL, S3 and HTTP connections.

A run asks its `Connections` for a host's shell or a server's session and gets the same one again while it is healthy:
a connection costs more than most steps. All of them are closed when the run ends.
"""

from recoverd.connections.pool import Connections
from recoverd.connections.reach import Reach, reach_from_here, reach_through
from recoverd.connections.s3 import S3
from recoverd.connections.sql import NoLogin, Sql, server_parameters
from recoverd.connections.ssh import Completed, Ssh

__all__ = [
    "S3",
    "Completed",
    "Connections",
    "NoLogin",
    "Reach",
    "Sql",
    "Ssh",
    "reach_from_here",
    "reach_through",
    "server_parameters",
]
