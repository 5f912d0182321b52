"""The attacks that an audit makes, a file each; see `medistill.privacy.attack` for what one is."""
