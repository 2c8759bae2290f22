from .damo import read_damo_schemes
from .damo_kdamonds import read_damo_kdamonds
from .toml import read_schemes

__all__ = ["read_damo_kdamonds", "read_damo_schemes", "read_schemes"]
