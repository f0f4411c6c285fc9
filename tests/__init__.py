"""Tests of text2latent; the folders mirror the package's."""
