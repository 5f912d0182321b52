"""What a distilled set is worth: fresh networks, metrics, intervals and paired comparison."""
