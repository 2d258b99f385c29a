"""dfnd: the selection of DFND, which is msp under its own name."""

from __future__ import annotations

from curate.strategies.msp import Msp


class Dfnd(Msp):
    """Score max_k p_k with p = softmax(z_t), as msp does: the budget's N most confident images.

    Source: Chen et al., "Learning student networks in the wild", CVPR 2021, which takes the 600,000
    most confident of ImageNet. Cost: the teacher's logits only. Choose this when: you compare with
    that paper; it is msp, whatever it is called.
    """

    name = "dfnd"
