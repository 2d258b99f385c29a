"""Diversity: within each class's quota, images unlike each other in place of the best scores.

A method is one file and one line here; `picking` brings it the candidates of a ledger.
"""

from curate.diversity.base import Candidates, Method, Picks
from curate.diversity.clusters import CLUSTERS
from curate.diversity.facility import FACILITY
from curate.diversity.kcenter import KCENTER

NONE = "none"
METHODS: dict[str, Method] = {"kcenter": KCENTER, "facility": FACILITY, "clusters": CLUSTERS}

__all__ = ["METHODS", "NONE", "Candidates", "Method", "Picks"]
