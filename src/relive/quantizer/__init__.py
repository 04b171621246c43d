"""relive.quantizer"""
