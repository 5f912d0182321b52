"""The audit of a distilled set: signals are made once, every attack works on them, the gate judges what they found."""
