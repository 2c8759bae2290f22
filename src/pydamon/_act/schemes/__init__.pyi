from .damo import read_damo_schemes
from .toml import read_schemes

__all__ = ["read_damo_schemes", "read_schemes"]
