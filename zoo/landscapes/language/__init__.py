"""The words and sentences of the landscapes world, in English and Japanese."""
