"""Holds what the memory keeps: capsules and what search knows of them, sessions, turns and skill triggers."""

from capsule_cloud.memory.models.capsules import Capsule, SearchEntry, SearchStatistics
from capsule_cloud.memory.models.sessions import Session, SkillTrigger, Turn

__all__ = ["Capsule", "SearchEntry", "SearchStatistics", "Session", "SkillTrigger", "Turn"]
