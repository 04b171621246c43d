"""relive.cubes"""
