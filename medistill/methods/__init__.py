"""Methods of distillation, a file each: its settings, what is said of it, and how it is run."""
