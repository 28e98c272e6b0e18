"""Lists the plain routes, in the order in which they are tried: the busiest first."""

from collections.abc import Sequence

from capsule_cloud.api import capsules, end_users, files, recall, sessions
from capsule_cloud.api.operations import Operation

PREFIX = "api/v1/"
PLAIN: dict[str, Sequence[Operation]] = {
    "Sessions": sessions.OPERATIONS,
    "Recall": recall.OPERATIONS,
    "Capsules": (*capsules.OPERATIONS, *files.OPERATIONS),
    "End users": end_users.OPERATIONS,
}
