"""relive.model"""
