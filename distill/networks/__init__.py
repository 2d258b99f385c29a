"""Networks: architectures, cards, weights, and what can be read from inside them."""

from distill.networks.card import Card, register
from distill.networks.embedder import Embedder, load_embedder
from distill.networks.inference import map_batches
from distill.networks.input import InputSpec, normalise
from distill.networks.network import Network, Outputs, load_network, network_key
from distill.networks.student import save_student

__all__ = [
    "Card",
    "Embedder",
    "InputSpec",
    "Network",
    "Outputs",
    "load_embedder",
    "load_network",
    "map_batches",
    "network_key",
    "normalise",
    "register",
    "save_student",
]
