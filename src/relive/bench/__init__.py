"""Measurement: metrics, peer codecs, rate-distortion curves, and the report.

session ─► Clip ─► peers (ffmpeg) ─┐
   │                               ├─► curves ─► bench rd (JSON, plots) ─► report.html
   └─► codec ─► replay ─► compare ─┘
"""
