"""Networks: architectures, cards, weights, and what can be read from inside them."""

from distill.networks.card import Card, register
from distill.networks.embedder import Embedder, load_embedder
from distill.networks.input import InputSpec, batches, normalise
from distill.networks.network import Network, Outputs, load_network, network_key
from distill.networks.student import save_student

__all__ = [
    "Card",
    "Embedder",
    "InputSpec",
    "Network",
    "Outputs",
    "batches",
    "load_embedder",
    "load_network",
    "network_key",
    "normalise",
    "register",
    "save_student",
]
