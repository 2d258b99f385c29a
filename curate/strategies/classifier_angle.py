"""classifier_angle: best aligned with a class of the teacher."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded


class ClassifierAngle(Unthresholded):
    """Score max_k cos(h, w_k), h the penultimate vector, w_k the rows of the classifier.

    Source: the cosine of Techapanurak, Suganuma and Okatani, "Hyperparameter-free out-of-
    distribution detection using cosine similarity", ACCV 2020, on a network trained without it.
    Cost: one small product in the scoring pass. Choose this when: max_logit would do but for
    vectors that are merely long; any network has it.
    """

    name = "classifier_angle"
    logits = "none"
    needs: tuple[str, ...] = ("classifier_angle",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate."""
        return Scored(batch.signals["classifier_angle"], batch.label)
