"""Captions of the faces world in English and Japanese."""
