"""clip_text: looks to CLIP like the name of its class."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded


class ClipText(Unthresholded):
    """Score cos(v, t_c): the image's vector with that of the text "a photo of a CLASS".

    c is the teacher's predicted class, by the name in its card. The index has to be made with an
    open_clip embedder, and its weights must still be there.
    Source: Radford et al., "Learning transferable visual models from natural language supervision",
    ICML 2021, for the text; as a filter of crawls: Schuhmann et al., LAION-400M, 2021.
    Cost: one text a class, one product an image.
    Choose this when: classes have everyday names, and a second opinion on the teacher's is wanted.
    """

    name = "clip_text"
    logits = "top32"
    needs: tuple[str, ...] = ("clip_text",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate."""
        return Scored(batch.signals["clip_text"], batch.label)
