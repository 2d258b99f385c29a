"""A student that ends in its teacher's classifier (KD3 paper, classifier sharing)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from distill.networks.card import Head
from distill.networks.taps import Taps, watch
from index.errors import NetworkError


def projector(in_channels: int, out_channels: int) -> nn.Sequential:
    """Build phi: 1x1, 3x3 and 1x1 convolutions, each with BatchNorm and ReLU.

    The first halves the teacher's channels, the last gives all of them.
    """
    middle = out_channels // 2
    return nn.Sequential(
        *_conv_bn_relu(in_channels, middle, 1),
        *_conv_bn_relu(middle, middle, 3),
        *_conv_bn_relu(middle, out_channels, 1),
    )


class SharedClassifierNet(nn.Module):
    """z = W_T GAP(phi(F_s)) + b_T: a student's body, a projector, the teacher's classifier.

    The body's own classifier is taken out, so that parameters and FLOPs count what is deployed;
    its number of outputs K must be the teacher's.

    Args:
        body: a classifier; it is changed in place.
        taps: where its feature map is.
        head: widths of the two feature maps, and the size that a larger one is pooled to.

    Raises:
        NetworkError: the body has no feature map, or one of another width than the head's.
    """

    def __init__(self, body: nn.Module, taps: Taps, head: Head) -> None:
        super().__init__()
        if taps.features is None or taps.map_shape is None:
            raise NetworkError("a shared classifier needs a student with a pooled feature map")
        if taps.map_shape[0] != head.in_channels:
            raise NetworkError(
                f"head.in_channels is {head.in_channels} but the student has {taps.map_shape[0]}"
            )
        own = body.get_submodule(taps.classifier)
        assert isinstance(own, nn.Linear)
        body.set_submodule(taps.classifier, nn.Identity())
        self.body = body
        self.projector = projector(head.in_channels, head.out_channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(head.out_channels, own.out_features)
        self._features = taps.features
        self._size = head.size

    @property
    def tapped(self) -> str:
        """The path of the module that puts out F_s."""
        return f"body.{self._features}"

    def body_map(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to F_s (B, C_s, H', W'), pooled to the head's size if larger."""
        with watch(self.body, [self._features]) as calls:
            self.body(images)
        found = calls[self._features].output
        assert found is not None
        return F.adaptive_avg_pool2d(found, self._size) if found.shape[-1] > self._size else found

    def classify(self, projected: Tensor) -> Tensor:
        """Map phi(F_s) (B, C_t, H', W') to logits (B, K)."""
        logits: Tensor = self.classifier(self.pool(projected).flatten(1))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, K)."""
        return self.classify(self.projector(self.body_map(images)))


def _conv_bn_relu(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]
