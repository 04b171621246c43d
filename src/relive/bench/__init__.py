"""relive.bench"""
