"""Latents ↔ codes."""
