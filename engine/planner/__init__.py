"""Pure decisions before a run: which backend runs what, and where every tensor lies."""

from engine.planner.plan import ArenaSize, Plan, Window, check_plan, make_plan
from engine.planner.schedule import Placement, insert_copies, place

__all__ = [
    "ArenaSize",
    "Placement",
    "Plan",
    "Window",
    "check_plan",
    "insert_copies",
    "make_plan",
    "place",
]
