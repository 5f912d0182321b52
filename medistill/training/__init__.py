"""One training loop, with augmentation and normalisation, that experts, distillation and evaluation share."""
