"""Recordings, the formats that they come in, and what they say."""
