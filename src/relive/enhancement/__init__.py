"""Enhancement: what the codes of the cubes leave, coded at stride 8 (design 5.6)."""
