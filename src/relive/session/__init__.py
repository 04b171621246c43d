"""Recordings: schema, writer, reader and sources (games, video files)."""
