"""PRE: what the generator made before is replayed by a VAE (Binici et al., AAAI 2022)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from distill.datafree.adversary import BETAS, Adversary
from distill.datafree.generator import Generator
from distill.datafree.purposes import Purpose
from distill.datafree.recipe import Recipe, ReplayRecipe
from distill.datafree.synthesiser import Compute, Moment, Terms
from distill.methods import Method
from distill.networks import InputSpec, Network


class Replay(Adversary):
    """An `Adversary` with a memory of latent vectors; the VAE learns after each of its steps.

    The VAE learns on what is new and on what it replays, so that it does not forget. What is kept
    of old batches is their latent means: with so small a weight of the prior, noise would decode
    to nothing that was seen (this, and the VAE's form, are inferred).
    """

    recipe: ReplayRecipe
    latents: Tensor
    seen: Tensor

    def __init__(self, learner: Method, recipe: Recipe, compute: Compute, folder: Path) -> None:
        super().__init__(learner, recipe, compute, folder)
        self.vae = VAE(self.teacher.card.input, self.recipe.latent, self.recipe.width)
        self.register_buffer("latents", torch.zeros(self.recipe.remembered, self.recipe.latent))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers.append(
            torch.optim.Adam(self.vae.parameters(), self.recipe.generator_lr, betas=BETAS)
        )

    def prepare(self, moment: Moment) -> dict[str, float]:
        """Let the generator learn, then the VAE, where their turn has come."""
        made = super().prepare(moment)
        if not made:
            return {}
        novel = super().images(self.recipe.batch, moment)
        memory = self.descend(self._rehearse(novel, moment), self.optimizers[1])
        return {**made, **{f"memory_{name}": value for name, value in memory.items()}}

    def images(self, count: int, moment: Moment) -> Tensor:
        """New images, `count` of them, and those that are replayed."""
        return torch.cat(
            [super().images(count, moment), self._replayed(moment, Purpose.REPLAY_SHOWN)]
        )

    def _rehearse(self, novel: Tensor, moment: Moment) -> Terms:
        images = torch.cat([novel, self._replayed(moment, Purpose.REPLAY)])
        with self.compute.autocast():
            mean, spread = self.vae.encode(images)
            drawn = torch.randn(mean.shape, generator=moment.generator(Purpose.REHEARSE))
            decoded = self.vae.decoder(mean + drawn.to(mean.device) * (spread / 2).exp())
            found = vae_terms(self.teacher, images, decoded, mean, spread, self.recipe.kld)
        self._remember(mean[: len(novel)].detach())
        return found

    @torch.no_grad()
    def _replayed(self, moment: Moment, purpose: Purpose) -> Tensor:
        """Decode some of the latents that are kept: (replayed, 3, S, S), none at the start."""
        known = min(int(self.seen), len(self.latents))
        generator = moment.generator(purpose)
        chosen = torch.randint(max(known, 1), (self.recipe.replayed,), generator=generator)
        latents = self.latents[chosen.to(self.latents.device)]
        if not known:
            return latents.new_empty(0, 3, *(self.teacher.card.input.size,) * 2)
        with self.compute.autocast():
            images: Tensor = self.vae.decoder(latents)
        return images

    def _remember(self, latents: Tensor) -> None:
        """The latest take the place of the oldest."""
        latents = latents[-len(self.latents) :]
        places = (self.seen + torch.arange(len(latents), device=latents.device)) % len(self.latents)
        self.latents[places] = latents
        self.seen += len(latents)


class VAE(nn.Module):
    """Halving convolutions to mean and log variance of a latent vector, and a generator."""

    def __init__(self, spec: InputSpec, latent: int, width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2)),
            nn.Flatten(),
        )
        self.head = nn.Linear(2 * width * (-(-spec.size // 4)) ** 2, 2 * latent)
        self.decoder = Generator(spec, latent, width)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, latent) of images (B, 3, S, S), float32."""
        mean, spread = self.head(self.encoder(images)).float().chunk(2, dim=1)
        return mean, spread


def vae_terms(
    teacher: Network, images: Tensor, decoded: Tensor, mean: Tensor, spread: Tensor, kld: float
) -> Terms:
    """mean |x - x'| + mean |z_t(x) - z_t(x')| + kld KL(N(mean, e^spread) || N(0, 1)).

    The KL is a sum over the latent vector and a mean over the batch.
    """
    with torch.no_grad():
        wanted = teacher(images).float()
    divergence = 0.5 * (spread.exp() + mean.square() - 1 - spread).sum(1).mean()
    return {
        "images": (images - decoded).abs().mean(),
        "logits": (wanted - teacher(decoded).float()).abs().mean(),
        "kld": kld * divergence,
    }
