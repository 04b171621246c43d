"""Replays for PyTorch: random windows of codes, states and pictures."""

from relive.torch.dataset import ReplayDataset, Window, split_sessions

__all__ = ["ReplayDataset", "Window", "split_sessions"]
