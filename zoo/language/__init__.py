"""Captions of a world in English and Japanese: words and what they say, sentences, and what people do to both."""
