"""What can go wrong with a task before it exists.

hub.errors.Conflict
└── PlanImpossible    no plan can be made of what was asked; the sentence says why and names the object
"""

from hub.errors import Conflict


class PlanImpossible(Conflict):
    """No plan can be made of what was asked; `detail` is the sentence for whoever asked."""

    code = "PLAN_IMPOSSIBLE"
