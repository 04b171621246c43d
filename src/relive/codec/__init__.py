"""relive.codec"""
