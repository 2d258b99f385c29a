"""Deciding what a student learns from: scores, strategies, manifests, and the command line."""
