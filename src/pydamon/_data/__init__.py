"""Recordings, their file formats, and analyses of them."""
