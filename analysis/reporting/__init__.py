"""One run as a page: what is measured, and how it is written down."""

__all__ = ["claims", "clock", "drawing", "figures", "folded", "page", "slider", "study", "tables", "words", "write"]
