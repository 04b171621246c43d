"""Cutting a session into clips and putting it back; training samples."""
