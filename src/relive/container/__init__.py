"""relive.container"""
