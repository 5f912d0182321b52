"""The records that flow between the rooms, each with its format on disk."""
