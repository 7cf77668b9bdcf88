"""What every experiment stands on: the setting, its twins and controls, and how a claim is judged."""

__all__ = ["controls", "experiment", "finding", "setting", "style", "table", "twins"]
