"""CROWN: linear bounds of a network, which prove that no attack can break an image."""
