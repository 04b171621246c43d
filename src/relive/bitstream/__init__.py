"""relive.bitstream"""
