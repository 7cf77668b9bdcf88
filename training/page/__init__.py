"""The page of a run while it trains: journal, pictures, charts."""

__all__ = ["chart", "images", "journal", "monitor", "page", "pictures"]
