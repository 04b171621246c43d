"""relive.train"""
